#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
version=1.20.1
already "$version"
python3 -m venv "$place"
"$place/bin/pip" install --quiet alembic=="$version" psycopg2-binary==2.9.13
done_with "$version"
