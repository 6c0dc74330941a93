#!/usr/bin/env bash
. "$(dirname "$0")/common.sh"
version=0.8.16
already "$version"
CARGO_TARGET_DIR="$place/build" cargo install --quiet --locked --root "$place" --version "$version" --no-default-features --features postgresql refinery_cli
rm -rf "$place/build"
done_with "$version"
