#!/usr/bin/env bash
# Installs the Debian packages that some tests drive for real; nothing is done for those that are there.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need chromium chromium
need node nodejs
need npm npm
need promtool prometheus
need pg_ctlcluster postgresql
need tc iproute2

if ((${#missing[@]})); then
    echo "installing for the tests: ${missing[*]}"
    sudo=""
    ((EUID == 0)) || sudo="sudo"
    $sudo apt-get update -qq
    # no service of prometheus or postgresql is wanted: only their programs are used
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

compose=$(dirname "$0")/compose
if ! timeout 900 "$compose/install_docker.sh"; then
    echo "there is no Docker engine to be had here: the tests that need one are skipped" >&2
elif ! timeout 1200 "$compose/base_images.sh" python:3.12-slim prom/prometheus:v2.53.5 postgres:17-bookworm; then
    echo "the images that ours stand on are not to be had here: the tests that need them are skipped" >&2
fi
