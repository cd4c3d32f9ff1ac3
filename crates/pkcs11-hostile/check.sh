#!/usr/bin/env bash
# Builds the hostile module and tests each of its faults on a fresh SoftHSM token (THREATS 20, 64, 66).
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
        # The program that loads the module has the runtime of the sanitizer.
        export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Clink-arg=-Wl,--export-dynamic"
        # SoftHSM throws exceptions, which the runtime supports only if libstdc++ was loaded first.
        runner=${host^^}
        export "CARGO_TARGET_${runner//-/_}_RUNNER=env LD_PRELOAD=libstdc++.so.6"
        ;;
    *)
        echo "check.sh: unknown argument ${1}: check.sh [asan]" >&2
        exit 1
        ;;
esac

# The directories of the tests are in this one, which is removed.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

for command in build test; do
    cargo "$command" --quiet --locked --package pkcs11-hostile --target-dir "$target" \
        "${options[@]}" </dev/null
done
echo "hostile module: $target${options[1]:+/${options[1]}}/debug/libpkcs11_hostile.so"
