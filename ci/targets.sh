#!/usr/bin/env bash
# Checks the library for targets other than this machine's: every one of TARGETS that rustup has, and
# says which it has not. What decides by a `cfg` is compiled here besides, on a copy of `src` in which the
# `cfg` is one that never holds: no Unix, and no 64-bit atomics.
#
#   rustup target add TARGET      and the next run checks it
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# compiles OPTION...: the library compiles without a warning. With a flag that forbids them, every dependency would
# be built again.
compiles() {
    local log
    log=$(cargo check --locked --quiet --lib --target-dir "${CARGO_TARGET_DIR:-$root/target}" "$@" 2>&1) && [ -z "$log" ] || {
        printf '%s\n' "$log" >&2
        echo "targets: fails or warns: $*" >&2
        exit 1
    }
}

# Each target, with the options that it is checked with: those without `std` have the core alone.
TARGETS='
aarch64-unknown-linux-gnu
i686-unknown-linux-gnu
powerpc-unknown-linux-gnu
s390x-unknown-linux-gnu
aarch64-apple-darwin
x86_64-pc-windows-gnu
thumbv7em-none-eabihf     --no-default-features
riscv32imac-unknown-none-elf --no-default-features
wasm32-unknown-unknown    --no-default-features
'

installed=$(rustup target list --installed 2>/dev/null || rustc -vV | sed -n 's/^host: //p')
checked=0 missing=()
while read -r target options; do
    [ -n "$target" ] || continue
    if grep -qxF "$target" <<<"$installed"; then
        # shellcheck disable=SC2086 # options, to be split
        compiles --target "$target" $options
        checked=$((checked + 1))
    else
        missing+=("$target")
    fi
done <<<"$TARGETS"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# as_if NAME EXPRESSION OPTION...: checks a copy of the library whose sources EXPRESSION has changed.
as_if() {
    local name=$1 expression=$2
    shift 2
    rm -rf "${copy:?}/src"
    # The lock file names the members, and guides are included.
    cp -r Cargo.toml Cargo.lock src benches crates docs tests "$copy/"
    # They are not there, and no one asks for them.
    sed -i '/^\[\[example\]\]/,/^$/d' "$copy/Cargo.toml"
    local before
    before=$(find "$copy/src" "$copy/Cargo.toml" -type f -exec cat {} + | cksum)
    find "$copy/src" -name '*.rs' -exec sed -i -E "$expression" {} +
    sed -i -E "$expression" "$copy/Cargo.toml"
    if [ "$(find "$copy/src" "$copy/Cargo.toml" -type f -exec cat {} + | cksum)" = "$before" ]; then
        echo "targets: nothing of the sources is $name, so the check proves nothing" >&2
        exit 1
    fi
    compiles --manifest-path "$copy/Cargo.toml" "$@"
    echo "targets: compiles where there is $name, with ${*:-default features}"
}

as_if 'no Unix' '/cfg/ s/\bunix\b/target_os = "none"/g'
as_if 'no Unix' '/cfg/ s/\bunix\b/target_os = "none"/g' --features pkcs11
as_if 'neither x86-64 nor aarch64' 's/target_arch = "(x86_64|aarch64)"/target_arch = "wasm32"/g'
as_if 'no 64-bit atomic' 's/target_has_atomic = "64"/target_has_atomic = "128"/g'
as_if 'no 64-bit atomic' 's/target_has_atomic = "64"/target_has_atomic = "128"/g' --no-default-features

# Where there is none, the type itself is not there: the one of src/sync.rs stands for it.
if grep -rnE 'core::sync::atomic::.*\bAtomic(U|I)64\b' src --include='*.rs' | grep -vE '^src/(sync|stream/chunk_stream/limit_tests)\.rs:'; then
    echo 'targets: a 64-bit atomic of core outside of src/sync.rs' >&2
    exit 1
fi

for target in "${missing[@]}"; do
    echo "targets: NOT CHECKED: $target is not installed: rustup target add $target"
done
echo "targets: $checked of $((checked + ${#missing[@]})) targets checked"
