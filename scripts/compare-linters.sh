#!/bin/sh
# Runs squawk (PyPI: squawk-cli) on the operations of tests/fixtures/hazards, and compares both linters with what the
# test `lint` measures on a real server. Writes the table of docs/hazards/comparison.md to stdout.
#
# A rule of squawk counts where it is about cost: locks held over a scan or a rewrite. Its rules about style, missing
# timeouts, compatibility and data loss fire on nearly every operation, or on harmless ones for other good reasons.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
MIGENGINE_LINT_TABLE="$work/truth" cargo test --quiet --package migengine --test lint >&2
mkdir "$work/operations"
for file in tests/fixtures/hazards/*.sql; do
  case $file in */setup.sql) continue ;; esac
  awk '/^-- operation$/ { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' "$file" \
    >"$work/operations/${file##*/}"
done
# squawk exits with 1 where it finds something.
${SQUAWK:-squawk} --reporter json --pg-version 15.0 "$work"/operations/*.sql >"$work/squawk.json" 2>/dev/null || true
python3 - "$work" <<'EOF'
import json, os, sys
work = sys.argv[1]
COST = """adding-field-with-default adding-foreign-key-constraint adding-not-nullable-field adding-serial-primary-key-field
ban-alter-domain-with-add-constraint changing-column-type constraint-missing-not-valid disallowed-unique-constraint
prefer-identity require-concurrent-index-creation require-concurrent-reindex""".split()
found = {}
for one in json.load(open(f"{work}/squawk.json")):
    if one["rule_name"] in COST:
        found.setdefault(os.path.basename(one["file"])[:-4], set()).add(one["rule_name"])
rows = [line.rstrip("\n").split("\t") for line in open(f"{work}/truth")]
dangerous = [row for row in rows if row[1] == "true"]
ours = [row[0] for row in dangerous if row[2] == "true"]
theirs = [row[0] for row in dangerous if row[0] in found]
our_alarms = [row[0] for row in rows if row[3] == "true"]
their_alarms = [row[0] for row in rows if row[1] != "true" and row[0] in found]
print(f"| of {len(rows)} operations, {len(dangerous)} dangerous | migengine lint | squawk |")
print("|---|---|---|")
print(f"| dangerous ones found | {len(ours)} | {len(theirs)} |")
print(f"| false alarms about cost | {len(our_alarms)} | {len(their_alarms)} |")
names = [row[0] for row in dangerous]
print("\nNot found by migengine lint:", ", ".join(n for n in names if n not in ours) or "none")
print("\nNot found by squawk:", ", ".join(n for n in names if n not in theirs) or "none")
print("\nFalse alarms of migengine lint:", ", ".join(our_alarms) or "none")
print("\nFalse alarms of squawk:", ", ".join(their_alarms) or "none")
EOF
