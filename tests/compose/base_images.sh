#!/usr/bin/env bash
# Has the images that ours stand on: pulled where a registry answers, else put together from this machine's own parts.
# Such a stand-in is good for tests alone. Does nothing for images that are there already.
set -euo pipefail

sudo=""
((EUID == 0)) || sudo="sudo"
here=$(cd "$(dirname "$0")" && pwd)
source "$here/debian.sh"
work=$(mktemp -d)
trap '$sudo rm -rf "$work"' EXIT

have() { docker image inspect "$1" >/dev/null 2>&1; }

# One attempt: a network without a registry refuses at once or within the limit.
pulled() { timeout 60 docker pull --quiet "$1" >/dev/null 2>&1; }

python_prefix() {
    local found
    found=$(find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -maxdepth 1 -name "$1.*" | sort -V | tail -1)
    [[ -n $found ]] || { echo "pyenv has no CPython $1 to make the image from" >&2; return 1; }
    echo "$found"
}

# Debian's shared libraries that CPython is linked with, and this machine's own CPython of that version
make_python() {
    local version=$1 image=$2 root=$work/python packages prefix
    packages=ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libncursesw6,zlib1g,libexpat1
    packages+=,libuuid1,netbase,tzdata
    prefix=$(python_prefix "$version")
    $sudo debootstrap --variant=minbase --include="$packages" bookworm "$root" "$(debian_mirror)" >"$work/debootstrap.log" ||
        { tail -20 "$work/debootstrap.log" >&2; return 1; }
    $sudo cp -a "$prefix/." "$root/usr/local/"
    $sudo rm -rf "$root"/usr/local/lib/python"$version"/{test,idlelib,tkinter,ensurepip} "$root"/usr/local/lib/libpython*.a \
        "$root"/usr/local/lib/python"$version"/config-* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/{doc,man,locale}/*
    $sudo rm -f "$root"/usr/local/lib/python"$version"/site-packages/*.pth  # this machine's own affairs
    $sudo find "$root/usr/local" -name __pycache__ -type d -prune -exec rm -rf {} +
    $sudo grep -rlI --exclude-dir=lib "^#!.*$prefix" "$root/usr/local/bin" |
        $sudo xargs -r sed -i "1s|^#!.*|#!/usr/local/bin/python$version|"
    $sudo cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    $sudo ln -sf "python$version" "$root/usr/local/bin/python"
    $sudo ln -sf "python$version" "$root/usr/local/bin/python3"
    $sudo chroot "$root" ldconfig
    $sudo chroot "$root" /usr/local/bin/python -c 'import bz2, ctypes, lzma, sqlite3, ssl, zlib'
    $sudo tar -C "$root" -c . | docker import \
        -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
        -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' -c 'CMD ["python3"]' - "$image" >/dev/null
}

# Debian 13's Prometheus with the folders and the user of the official image
make_prometheus() {
    local image=$1 root=$work/prometheus program
    mkdir -p "$root"/{bin,etc/prometheus,prometheus,tmp}
    for program in prometheus promtool; do
        unpack_from_debian_13 "$program" "$work/unpacked"
        cp "$work/unpacked/usr/bin/$program" "$root/bin/$program"
        ldd "$root/bin/$program" | grep -o '/[^ ]*' | while read -r library; do cp --parents -L "$library" "$root"; done
    done
    chmod 1777 "$root/tmp"
    tar -C "$root" --owner=65534 --group=65534 -c . | docker import \
        -c 'USER 65534:65534' -c 'WORKDIR /prometheus' -c 'EXPOSE 9090' -c 'ENTRYPOINT ["/bin/prometheus"]' \
        -c 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]' - "$image" >/dev/null
}

for image in "$@"; do
    have "$image" && continue
    pulled "$image" && continue
    echo "no registry has $image: putting a stand-in together"
    case $image in
        python:*) make_python "$(cut -d: -f2 <<<"${image%-slim*}")" "$image" ;;
        prom/prometheus:*) make_prometheus "$image" ;;
        postgres:*) docker build --quiet --tag "$image" "$here/postgres" >/dev/null ;;
        *) echo "there is no stand-in for $image" >&2; exit 1 ;;
    esac
done
