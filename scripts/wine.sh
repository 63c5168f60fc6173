# Sourced after scripts/tools.sh by the scripts that run the program under Wine: a Debian with Wine in it, the builds
# for Windows, and Wine itself, which ends with the script, however that ends.
#
# For Debian, as root. WINE_ROOT names the Debian that has Wine, made if it is not there: target/tools/wine/root.

wine="$tools/wine"
wine_root="${WINE_ROOT:-$wine/root}"
wine_target=x86_64-pc-windows-gnu
# Variables of the programs in there, set by the script before `start_wine`.
wine_env=()

# enter_wine SCRIPT ARGUMENT…: the script's first call. Begins it once more in own namespaces, with which its mounts,
# Xvfb and Wine end.
enter_wine() {
    if [ "$(id -u)" != 0 ] || ! has_apt; then
        echo "needs root, for chroot and mounts, and apt" >&2
        exit 1
    fi
    if [ -z "${WINE_NAMESPACE-}" ]; then
        WINE_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child --mount-proc "$@"
    fi
    trap 'exit 130' INT TERM
}

# Makes the Debian that has Wine.
make_wine_root() {
    [ ! -e "$wine_root" ] || return 0
    install debootstrap debian-archive-keyring
    local mirror
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || {
        echo "apt has no mirror of Debian here" >&2
        exit 1
    }
    rm -rf "$wine_root.part"
    mkdir -p "$wine_root.part"
    debootstrap --variant=minbase --include=ca-certificates --keyring="$debian_keyring" sid "$wine_root.part" \
        "$mirror" >&2
    chroot "$wine_root.part" apt-get install -y -qq --no-install-recommends \
        wine64 libz-mingw-w64 mesa-vulkan-drivers libvulkan1 xvfb >&2
    mv "$wine_root.part" "$wine_root"
}

# wine_cargo COMMAND ARGUMENT…: cargo for Windows, in release. What it builds lies in $wine/$wine_target/release.
wine_cargo() {
    command -v x86_64-w64-mingw32-gcc >/dev/null || install gcc-mingw-w64-x86-64
    mkdir -p "$wine"
    local build=cargo_build_std
    ! has_target "$wine_target" || build=cargo
    CARGO_PROFILE_RELEASE_DEBUG=0 "$build" "$1" --release --target "$wine_target" --target-dir "$wine" "${@:2}"
}

inside() { # FOLDER COMMAND…
    chroot "$wine_root" env --ignore-environment --chdir="$1" PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 HOME=/root \
        XDG_RUNTIME_DIR=/tmp DISPLAY=":${display-}" WINEPREFIX=/root/prefix WINEARCH=win64 WINEDEBUG=-all \
        ${wine_env[@]+"${wine_env[@]}"} "${@:2}"
}

# Starts Wine, with a display. The paths inside equal those outside.
start_wine() {
    mkdir -p "$wine_root$PWD"
    mount --bind /proc "$wine_root/proc"
    mount --bind /dev "$wine_root/dev"
    mount --bind "$PWD" "$wine_root$PWD"
    # Xvfb prints the number of its display once it is ready.
    exec 3< <(inside / Xvfb -displayfd 1 -screen 0 800x600x24 2>/dev/null)
    read -r display <&3
    inside / wine64 wineboot -i
}
