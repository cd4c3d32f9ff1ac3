#!/usr/bin/env bash
# Builds the hostile module and shows for each of its faults that it does what it says, on a fresh
# SoftHSM token (THREATS 20, 64, 66).
#
#   check.sh           check.sh asan      under AddressSanitizer, by a stable compiler
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
options=()

bash ci/setup.sh --check softhsm

case ${1:-} in
    '') ;;
    asan)
        host=$(rustc -vV | sed -n 's/^host: //p')
        options=(--target "$host")
        target+=/asan
        export RUSTC_BOOTSTRAP=1
        # The module takes the sanitizer's runtime from the program that loads it.
        export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Clink-arg=-Wl,--export-dynamic"
        # SoftHSM throws exceptions, which the runtime follows only if it met libstdc++ first.
        runner=${host^^}
        export "CARGO_TARGET_${runner//-/_}_RUNNER=env LD_PRELOAD=libstdc++.so.6"
        ;;
    *)
        echo "check.sh: ${1} is not known: check.sh [asan]" >&2
        exit 1
        ;;
esac

# The tests' own directories, tokens and all, go with this one.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

for command in build test; do
    cargo "$command" --quiet --locked --package pkcs11-hostile --target-dir "$target" \
        "${options[@]}" </dev/null
done
echo "hostile module: $target${options[1]:+/${options[1]}}/debug/libpkcs11_hostile.so"
