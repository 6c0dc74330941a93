#!/usr/bin/env bash
# Makes sure that PostgreSQL server binaries (14 or newer) are on this machine.
# Installs them through apt-get, dnf, apk or brew where they are missing, and says so before it does.
# Usage: scripts/need-postgres.sh [--with-pgbouncer]
set -euo pipefail

oldest=14

# The places that cli/src/embedded/find.rs looks into too.
have_server() {
    local bin version major
    if [ -n "${MIGENGINE_PG_BIN:-}" ]; then
        [ -x "$MIGENGINE_PG_BIN/postgres" ] && return 0
        echo "MIGENGINE_PG_BIN=$MIGENGINE_PG_BIN holds no program \`postgres\`" >&2
        exit 2
    fi
    local IFS=:
    for bin in $PATH "$(pg_config --bindir 2>/dev/null || true)" \
        /usr/lib/postgresql/*/bin /usr/libexec/postgresql* /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin /usr/bin /usr/local/bin /usr/local/pgsql/bin; do
        if [ -n "$bin" ] && [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ]; then
            version=$("$bin/postgres" --version 2>/dev/null) || continue
            major=${version#*) }
            major=${major%%[!0-9]*}
            [ "${major:-0}" -ge "$oldest" ] && return 0
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        echo "This needs root, and sudo cannot be used here. Please have it installed with the command above." >&2
        exit 1
    fi
}

# install PURPOSE DEBIAN FEDORA ALPINE BREW: each a list of packages
install() {
    local purpose=$1
    if command -v apt-get >/dev/null; then
        echo "$purpose is missing; installing it: apt-get install $2" >&2
        as_root apt-get update -q >&2
        # shellcheck disable=SC2086
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $2 >&2
    elif command -v dnf >/dev/null; then
        echo "$purpose is missing; installing it: dnf install $3" >&2
        # shellcheck disable=SC2086
        as_root dnf install -y -q $3 >&2
    elif command -v apk >/dev/null; then
        echo "$purpose is missing; installing it: apk add $4" >&2
        # shellcheck disable=SC2086
        as_root apk add -q $4 >&2
    elif command -v brew >/dev/null; then
        echo "$purpose is missing; installing it: brew install $5" >&2
        # shellcheck disable=SC2086
        brew install -q $5 >&2
    else
        echo "$purpose is missing, and this system has neither apt-get, dnf, apk nor brew." >&2
        echo "See https://www.postgresql.org/download/, or set MIGENGINE_PG_BIN." >&2
        exit 1
    fi
}

if ! have_server; then
    install "A PostgreSQL server" postgresql "postgresql-server postgresql-contrib" \
        "postgresql postgresql-contrib" postgresql@17
    have_server || { echo "The packages came without a server of version $oldest or newer." >&2; exit 1; }
fi

if [ "${1:-}" = --with-pgbouncer ] && ! command -v pgbouncer >/dev/null && [ ! -x /usr/sbin/pgbouncer ]; then
    # Only the tests behind a connection pooler need it; they say so where they are skipped.
    (install pgbouncer pgbouncer pgbouncer pgbouncer pgbouncer) || echo "Going on without pgbouncer." >&2
fi
