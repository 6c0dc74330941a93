# Sourced by every script beside it. Each installs one tool, at one version, into a folder of its own below target/peers,
# and says in `version` what it installed. Nothing outside of that folder is changed unless a script says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=$(basename "$0" .sh)
place=$PWD/target/peers/$tool
mkdir -p "$place"
done_with() { printf '%s\n' "$1" > "$place/version"; printf '%s %s is in %s\n' "$tool" "$1" "$place"; exit 0; }
already() { if [ "$(cat "$place/version" 2>/dev/null)" = "$1" ]; then exit 0; fi; }
