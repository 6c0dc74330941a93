#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
# Perl, with many modules: this one is installed through apt, which needs root.
version=$(apt-cache policy sqitch 2>/dev/null | sed -n 's/ *Candidate: //p')
[ -n "$version" ] || { echo "sqitch: only where apt has it" >&2; exit 1; }
already "$version"
apt-get install -y -qq --no-install-recommends sqitch libdbd-pg-perl >/dev/null
done_with "$version"
