#!/usr/bin/env bash
# The PKCS#11 keyring on a faulty token: builds the hostile module, tests its faults,
# sets up a fresh SoftHSM token behind it, and runs the tests.
#
#     ci/pkcs11_hostile.sh [-- COMMAND...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
if [ -z "${ENVELOCK_HOSTILE:-}" ]; then
    bash crates/pkcs11-hostile/check.sh
    export ENVELOCK_HOSTILE=${CARGO_TARGET_DIR:-$root/target}/debug/libpkcs11_hostile.so
fi
if [ "${1:-}" != -- ]; then
    command=(cargo test --locked --quiet --all-features --test pkcs11_hostile)
    "${command[@]}" --no-run
    # A fault is injected into the whole process.
    set -- -- "${command[@]}" -- --test-threads=1
fi
shift
# The real module is the one behind.
# shellcheck disable=SC2016 # The inner shell expands it.
exec ci/pkcs11.sh softhsm -- bash -c '
    export HOSTILE_FORWARD=$ENVELOCK_P11_MODULE ENVELOCK_P11_MODULE=$ENVELOCK_HOSTILE
    exec "$@"' hostile "$@"
