#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
version=2.36.0
already "$version"
npm install --silent --no-fund --no-audit --prefix "$place" dbmate@"$version"
done_with "$version"
