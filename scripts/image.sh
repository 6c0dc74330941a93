#!/usr/bin/env bash
# Builds the container image and holds it against what it promises: under 30 MB, not root, and a program that runs with
# nothing around it. Wants a Docker daemon (or DOCKER=podman), which pulls the base images.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
limit=$((30 * 1000 * 1000))

"$docker" build --file integrations/docker/Dockerfile --tag migengine .
size=$("$docker" image inspect --format '{{.Size}}' migengine)
user=$("$docker" image inspect --format '{{.Config.User}}' migengine)
echo "image: $size bytes, user $user"
[ "$size" -lt "$limit" ] || { echo "the image is larger than $limit bytes" >&2; exit 1; }
case $user in "" | 0 | 0:* | root*) echo "the image runs as root" >&2; exit 1 ;; esac
"$docker" run --rm --read-only --network none --cap-drop ALL migengine --version
"$docker" run --rm --read-only --network none --cap-drop ALL migengine explain ME333 >/dev/null
echo "the image is good"
