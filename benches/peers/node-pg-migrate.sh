#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
version=9.0.0
already "$version"
npm install --silent --no-fund --no-audit --prefix "$place" node-pg-migrate@"$version" pg@8.23.1
done_with "$version"
