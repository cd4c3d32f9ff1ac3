#!/usr/bin/env bash
# The unsafe code of the crate, which is all in src/keyring/pkcs11/ffi/, under AddressSanitizer and with
# a token that reports wrong lengths, handles and buffers (THREATS row 64). The compiler is the stable
# one, with an unstable option allowed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
    x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
    *) echo "pkcs11_asan.sh: no AddressSanitizer for $host" >&2; exit 1 ;;
esac
target=${CARGO_TARGET_DIR:-$root/target}/asan

# The module takes the sanitizer's runtime from the program that loads it, and SoftHSM, which
# throws exceptions, needs that runtime to have met libstdc++ first.
run() {
    env RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address -Clink-arg=-Wl,--export-dynamic' \
        "CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUNNER=env LD_PRELOAD=libstdc++.so.6" \
        cargo "$1" --locked --quiet --target "$host" --target-dir "$target" "${@:2}"
}
run build --package pkcs11-hostile
run test --manifest-path ci/asan/Cargo.toml --no-run
export ENVELOCK_HOSTILE=$target/$host/debug/libpkcs11_hostile.so
export -f run
export host target
# What libraries keep until the process ends is no leak of ours. A few frames of each allocation are enough, and
# found in half the time.
export ASAN_OPTIONS=detect_leaks=0:malloc_context_size=4
export ENVELOCK_ANY_VERDICT=1
# Operations under random faults: fewer than without the sanitizer.
export ENVELOCK_OPERATIONS=${ENVELOCK_OPERATIONS:-4000}
exec ci/pkcs11_hostile.sh -- bash -c 'run test --manifest-path ci/asan/Cargo.toml -- --test-threads=1 --skip no_fault_makes'
