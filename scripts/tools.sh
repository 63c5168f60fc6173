# Sourced by the other scripts: fetches tools and reports results. Unpacked tools lie in target/tools; only
# `install` changes the machine.

tools="$PWD/target/tools"
# The file of the summary that `scripts/test` prints last.
export SUMMARY="${SUMMARY:-$PWD/target/test-summary.txt}"

report() {
    echo "$*" | tee -a "$SUMMARY"
}

# Reports a check that could not run, so that nobody takes it for a passed one.
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
        as_root apt-get update -qq || return 1
        mkdir -p "$tools"
        touch "$tools/apt-lists"
    fi
}

# Installs packages, as root.
install() {
    echo "installing $*"
    apt_lists
    as_root apt-get install -y -qq -o DPkg::Lock::Timeout=120 "$@" >/dev/null
}

# unpack FOLDER PACKAGE…: unpacks packages without their dependencies into target/tools/FOLDER and prints that
# path. Fails if apt cannot fetch them.
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

# The mirror of Debian that apt is set up with on this machine; nothing where it has none.
debian_mirror() {
    apt_lists >&2 || return
    apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | sed -n 1p
}

# other_debian NAME SUITES: sets `options` to those of an apt in target/tools/NAME.apt, which knows the suites on the
# machine's own mirror and in which nothing is installed. Fails if it cannot be had.
other_debian() {
    local apt="$tools/$1.apt" suite mirror
    [ -e "$debian_keyring" ] || install debian-archive-keyring >&2 || return 1
    mkdir -p "$apt"/{lists/partial,archives/partial}
    : >"$apt/status"
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || return 1
    for suite in $2; do
        echo "deb [signed-by=$debian_keyring] $mirror $suite main"
    done >"$apt/sources.list"
    options=(-qq -o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null)
    apt-get "${options[@]}" update >&2
}

# Unpacks what the apt of `other_debian NAME` has fetched into target/tools/NAME.
unpack_archives() {
    local folder="$tools/$1" package
    mkdir -p "$folder"
    for package in "$folder.apt"/archives/*.deb; do
        dpkg-deb --extract "$package" "$folder" || return 1
    done
    rm -r "$folder.apt"
    touch "$folder/done"
}

# unpack_whole FOLDER SUITES PACKAGE…: unpacks packages of another Debian, from the last of its suites, with
# all that they depend on, its C library too, into target/tools/FOLDER, which it prints. Programs in there
# are run by the loader in there. They come from the machine's own mirror. Fails if they cannot be had.
unpack_whole() {
    local folder="$tools/$1" options
    if [ ! -e "$folder/done" ]; then
        other_debian "$1" "$2" || return 1
        apt-get "${options[@]}" install --yes --download-only --no-install-recommends \
            --target-release "${2##* }" "${@:3}" >&2 || return 1
        unpack_archives "$1" || return 1
    fi
    echo "$folder"
}

# unpack_from FOLDER SUITES PACKAGE/SUITE…: the same for these packages alone, each from its own suite.
unpack_from() {
    local folder="$tools/$1" options
    if [ ! -e "$folder/done" ]; then
        other_debian "$1" "$2" || return 1
        (cd "$tools/$1.apt/archives" &&
            apt-get "${options[@]}" download -o APT::Sandbox::User=root "${@:3}" >&2) || return 1
        unpack_archives "$1" || return 1
    fi
    echo "$folder"
}

# True if rustup has the standard library for a target.
has_target() {
    command -v rustup >/dev/null && rustup target list --installed | grep -qx "$1"
}

# The version of Debian's rustc-web, whose packages include the sources of the standard library. Prints nothing if
# apt has no such package, or one older than Cargo.toml requires.
debian_rust_version() {
    has_apt || return 0
    apt_lists >&2
    local version least
    version=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: \([0-9]*\.[0-9]*\).*/\1/p')
    least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if printf '%s\n' "$least" "$version" | sort --version-sort --check=quiet; then
        echo "$version"
    fi
}

# Like cargo, for targets whose standard library rustup lacks: compiles the library from Debian's sources.
cargo_build_std() {
    local version llvm root
    version=$(debian_rust_version)
    llvm=$(apt-cache depends "libstd-rust-web-$version" | sed -n 's/^ *Depends: \(libllvm.*\)/\1/p')
    root=$(unpack "rust-web-$version" rustc-web "libstd-rust-web-$version" libstd-rust-web-dev rust-web-src \
        "$llvm")/usr || return
    ln -sfn "$(echo "$root"/src/rustc-*)" "$root/lib/rustlib/src/rust"
    # LD_LIBRARY_PATH is set for cargo, not in a wrapper around rustc: a shell may drop variables such as
    # CARGO_BIN_EXE_gpt2-dpo.
    RUSTC="$root/bin/rustc" LD_LIBRARY_PATH="$root/lib/x86_64-linux-gnu" RUSTC_BOOTSTRAP=1 \
        cargo "$1" -Zbuild-std=std "${@:2}"
}

# Microsoft's signed shader compilers for DX12, from Dawn's npm package. Prints the folder with
# d3dcompiler_47.dll (FXC), dxcompiler.dll (DXC) and DXC's licence.
dx12_compilers() {
    local folder="$tools/dx12" from=package/dist/win32-x64
    if [ ! -e "$folder/done" ]; then
        mkdir -p "$folder"
        (
            cd "$folder"
            npm pack --silent webgpu@0.6.2 >&2
            tar -xzf webgpu-0.6.2.tgz "$from"
            rm webgpu-0.6.2.tgz
            printf '%s *%s\n' \
                04cf618004bf19f789f54e8931c7f7106223bccd354b093c4ff725c748512602 "$from/dxcompiler.dll" \
                289767b49dc8525bce262ea06fee4ef9fced2e131a55b25654ce871c1f0498b2 "$from/d3dcompiler_47.dll" |
                if command -v sha256sum >/dev/null; then sha256sum -c; else shasum -a 256 -c; fi >&2 &&
                touch done
        ) || return
        [ -e "$folder/done" ] || return
    fi
    echo "$folder/$from"
}
