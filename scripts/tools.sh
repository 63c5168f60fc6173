# Sourced by the other scripts: where tools come from, and what is said at the end.
# What is unpacked lies in target/tools; nothing is installed on the machine but what `install` says.

tools="$PWD/target/tools"
# Lines of the summary that `scripts/test` prints last.
export SUMMARY="${SUMMARY:-$PWD/target/test-summary.txt}"

report() {
    echo "$*" | tee -a "$SUMMARY"
}

# What could not run must not pass for something that did.
not_run() {
    report "NOT RUN  $*"
}

has_apt() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_lists() {
    if [ ! -e "$tools/apt-lists" ]; then
        as_root apt-get update -qq
        mkdir -p "$tools"
        touch "$tools/apt-lists"
    fi
}

# Installs packages, as root.
install() {
    echo "installing $*"
    apt_lists
    as_root apt-get install -y -qq "$@" >/dev/null
}

# unpack FOLDER PACKAGE…: unpacks packages, without what they depend on, into target/tools/FOLDER, which
# it prints. Fails if they cannot be had.
unpack() {
    local folder="$tools/$1"
    shift
    if [ ! -e "$folder/done" ]; then
        apt_lists >&2 || return 1
        mkdir -p "$folder"
        (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$@" >&2) || return 1
        for package in "$folder"/*.deb; do
            dpkg-deb --extract "$package" "$folder" || return 1
            rm "$package"
        done
        touch "$folder/done"
    fi
    echo "$folder"
}

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# unpack_whole FOLDER SUITES PACKAGE…: unpacks packages of another Debian, from the last of its suites, with
# all that they depend on, its C library too, into target/tools/FOLDER, which it prints. Programs in there
# are run by the loader in there. Needs no root. Fails if they cannot be had.
unpack_whole() {
    local folder="$tools/$1" apt="$tools/$1.apt"
    if [ ! -e "$folder/done" ]; then
        mkdir -p "$folder" "$apt"/{lists/partial,archives/partial}
        : >"$apt/status" # nothing is installed: all dependencies come too
        local suite
        for suite in $2; do
            echo "deb [signed-by=$debian_keyring] http://deb.debian.org/debian $suite main"
        done >"$apt/sources.list"
        local options=(-qq -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
            -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o Dir::Etc::preferencesparts=/dev/null)
        apt-get "${options[@]}" update >&2 || return 1
        apt-get "${options[@]}" install --yes --download-only --no-install-recommends \
            --target-release "$suite" "${@:3}" >&2 || return 1
        for package in "$apt"/archives/*.deb; do
            dpkg-deb --extract "$package" "$folder" || return 1
        done
        rm -r "$apt"
        touch "$folder/done"
    fi
    echo "$folder"
}
