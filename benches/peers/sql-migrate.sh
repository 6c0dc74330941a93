#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
# Debian's package, taken apart: one static binary.
version=$(apt-cache policy sql-migrate 2>/dev/null | sed -n 's/ *Candidate: //p')
[ -n "$version" ] || { echo "sql-migrate: only where apt has it" >&2; exit 1; }
already "$version"
(cd "$place" && apt-get download -qq sql-migrate && dpkg -x sql-migrate_*.deb .)
done_with "$version"
