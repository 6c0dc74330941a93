#!/usr/bin/env bash
# Installs every peer. One that cannot be installed is told of, and left out of the comparison.
cd "$(dirname "$0")" || exit 1
for script in *.sh; do
    case $script in all.sh | common.sh) continue ;; esac
    timeout 1800 "./$script" || echo "cannot be installed here: ${script%.sh}" >&2
done
