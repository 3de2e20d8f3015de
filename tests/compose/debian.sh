# Sourced: what the scripts beside this one take from Debian's archive. They set $sudo.

debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | head -1
}

# unpack_from_debian_13 PACKAGE FOLDER: a program of Debian 13 on a machine that runs 12. It needs nothing that 12 lacks, apt
# checks its signature as usual, and nothing that this machine has installed changes.
unpack_from_debian_13() {
    local package=$1 target=$2 folder
    folder=$(mktemp -d)
    mkdir -p "$folder"/{lists,cache/archives/partial}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) trixie main" >"$folder/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
    (cd "$folder" && $sudo apt-get "${options[@]}" update && $sudo apt-get "${options[@]}" download "$package")
    dpkg-deb -x "$folder/${package}_"*.deb "$target"
    $sudo rm -rf "$folder"
}
