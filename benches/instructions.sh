#!/usr/bin/env bash
# Counts the instructions of the hot paths with callgrind, which a busy machine does not change, and holds them against
# benches/instructions.txt. `--write` writes the counts of this build as the new limits, with a tenth of slack.
set -euo pipefail
cd "$(dirname "$0")/.."
limits=benches/instructions.txt
if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed: instructions are not counted"
    exit 0
fi
cargo build --quiet --locked --release --package migengine-benches --bin hot
out=$(mktemp)
trap 'rm -f "$out"' EXIT
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/hot "$1" 2>"$out" >/dev/null ||
        { cat "$out" >&2; exit 1; }
    sed -n 's/.*I *refs: *//p' "$out" | tr -d ,
}
[ "${1:-}" = --write ] && : >"$limits"
failed=0
for path in nothing lex plan journal; do
    counted=$(count "$path")
    if [ "${1:-}" = --write ]; then
        printf '%s %s\n' "$path" $((counted + counted / 10)) >>"$limits"
    fi
    limit=$(sed -n "s/^$path //p" "$limits")
    printf '%-8s %12s instructions, limit %s\n' "$path" "$counted" "$limit"
    [ "$counted" -le "$limit" ] || { echo "$path takes more instructions than it may" >&2; failed=1; }
done
exit $failed
