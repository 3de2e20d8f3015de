#!/usr/bin/env bash
# Has a Docker engine with Compose v2 ready on a Debian machine, for the tests of the images and of docker-compose.yml.
# Does nothing for what is there already.
set -euo pipefail

sudo=""
((EUID == 0)) || sudo="sudo"
source "$(dirname "$0")/debian.sh"
plugins=/usr/local/lib/docker/cli-plugins

install_packages() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io iptables)
    command -v docker-compose >/dev/null || missing+=(docker-compose) # v1, whose users are not left behind
    ((${#missing[@]})) || return 0
    echo "installing for the tests: ${missing[*]}"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Debian 12 has Compose v1 alone.
install_compose() {
    docker compose version >/dev/null 2>&1 && return 0
    echo "installing for the tests: docker compose"
    local folder
    folder=$(mktemp -d)
    unpack_from_debian_13 docker-compose "$folder"
    $sudo install -D -m 755 "$(find "$folder" -path '*cli-plugins/docker-compose')" "$plugins/docker-compose"
    rm -rf "$folder"
}

start_engine() {
    docker info >/dev/null 2>&1 && return 0
    echo "starting dockerd"
    local log=${TMPDIR:-/tmp}/dockerd.log
    $sudo sh -c "exec setsid dockerd >'$log' 2>&1 </dev/null &"
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return 0
        sleep 0.5
    done
    echo "dockerd does not answer; the end of $log:" >&2
    tail -20 "$log" >&2
    return 1
}

install_packages
install_compose
start_engine
