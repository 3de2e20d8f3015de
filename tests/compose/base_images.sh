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

# with_their_needs PACKAGE...: these, what is essential, and what all of them need, as far as this machine has it
with_their_needs() {
    local essential
    mapfile -t essential < <(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p')
    apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "${essential[@]}" "$@" | grep '^[a-z0-9]' | sort -u |
        { xargs dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' 2>/dev/null || true; } | # it has not all of them
        sed -n 's/^ii *//p'
}

# copy_debian ROOT PACKAGE...: the files of these packages of this machine, without what nobody reads in a container
copy_debian() {
    local root=$1 folder
    mkdir -p "$root"/{tmp,proc,sys,dev,run,root,home,var/tmp}
    for folder in bin sbin lib lib64; do
        mkdir -p "$root/usr/$folder" && ln -s "usr/$folder" "$root/$folder"
    done
    with_their_needs "${@:2}" | xargs dpkg -L | grep '^/[^.]' | grep -vE '^/usr/share/(doc|man|locale|info)(/|$)' | sort -u |
        tar -C / --no-recursion --ignore-failed-read -T - -c 2>/dev/null | $sudo tar -C "$root" -x --keep-directory-symlink
    for folder in passwd group; do $sudo cp "/usr/share/base-passwd/$folder.master" "$root/etc/$folder"; done
    $sudo cp /usr/share/libc-bin/nsswitch.conf "$root/etc/nsswitch.conf"
    $sudo touch "$root"/etc/{shadow,gshadow}
    $sudo chmod 1777 "$root"/{tmp,var/tmp}
}

# This machine's own CPython of that version, the libraries that it is linked with, and Debian's essential packages
make_python() {
    local version=$1 image=$2 root=$work/python prefix
    prefix=$(python_prefix "$version")
    copy_debian "$root" ca-certificates libstdc++6 netbase passwd tzdata
    $sudo cp -a "$prefix/." "$root/usr/local/"
    $sudo rm -rf "$root"/usr/local/lib/python"$version"/{test,idlelib,tkinter,ensurepip} "$root"/usr/local/lib/libpython*.a \
        "$root"/usr/local/lib/python"$version"/config-*
    $sudo rm -f "$root"/usr/local/lib/python"$version"/site-packages/*.pth  # this machine's own affairs
    $sudo find "$root/usr/local" -name __pycache__ -type d -prune -exec rm -rf {} +
    find "$root/usr/local" \( -name '*.so*' -o -path '*/bin/python3*' \) -type f -print0 | { xargs -0 ldd 2>/dev/null || true; } |
        grep -oE '[[:space:]]/(usr/)?lib[^ ]*' | sort -u | while read -r library; do $sudo cp -n --parents -L "$library" "$root"; done
    $sudo grep -rlI --exclude-dir=lib "^#!.*$prefix" "$root/usr/local/bin" |
        $sudo xargs -r sed -i "1s|^#!.*|#!/usr/local/bin/python$version|"
    $sudo cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    $sudo ln -sf "python$version" "$root/usr/local/bin/python"
    $sudo ln -sf "python$version" "$root/usr/local/bin/python3"
    $sudo chroot "$root" ldconfig
    $sudo chroot "$root" /usr/local/bin/python -c 'import bz2, ctypes, lzma, readline, sqlite3, ssl, zlib'
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

# This machine's own PostgreSQL, which takes the variables of the official image
make_postgres() {
    local image=$1 root=$work/postgres programs package
    programs=$(find /usr/lib/postgresql -name bin 2>/dev/null | sort -V | tail -1)
    [[ -n $programs ]] || { echo "this machine has no PostgreSQL to make the image from" >&2; return 1; }
    package=$(dpkg -S "$programs/postgres" | cut -d: -f1)
    copy_debian "$root" "$package" "${package/postgresql/postgresql-client}"
    echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' | $sudo tee -a "$root/etc/passwd" >/dev/null
    echo 'postgres:x:999:' | $sudo tee -a "$root/etc/group" >/dev/null
    $sudo mkdir -p "$root"/{usr/local/bin,var/lib/postgresql/data}
    $sudo ln -s "$programs"/* "$root/usr/local/bin/"
    $sudo install -m 755 "$here/postgres_entrypoint.sh" "$root/usr/local/bin/entrypoint.sh"
    $sudo chroot "$root" ldconfig
    $sudo tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
        -c 'ENV PGDATA=/var/lib/postgresql/data' -c 'VOLUME /var/lib/postgresql/data' -c 'EXPOSE 5432' \
        -c 'ENTRYPOINT ["entrypoint.sh"]' -c 'CMD []' - "$image" >/dev/null
}

stand_in() {
    case $1 in
        python:*) make_python "$(cut -d: -f2 <<<"${1%-slim*}")" "$1" ;;
        prom/prometheus:*) make_prometheus "$1" ;;
        postgres:*) make_postgres "$1" ;;
        *) echo "there is no stand-in for $1" >&2; return 1 ;;
    esac
}

waiting=()
for image in "$@"; do
    have "$image" && continue
    pulled "$image" && continue
    echo "no registry has $image: putting a stand-in together"
    (stand_in "$image") &
    waiting+=($!)
done
for one in "${waiting[@]}"; do wait "$one"; done
