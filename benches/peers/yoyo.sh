#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
version=9.0.0
already "$version"
python3 -m venv "$place"
"$place/bin/pip" install --quiet yoyo-migrations=="$version" psycopg2-binary==2.9.13
done_with "$version"
