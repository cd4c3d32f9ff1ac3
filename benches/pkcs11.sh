#!/usr/bin/env bash
# Benchmarks of the PKCS#11 keyring on fresh tokens: benches/pkcs11.sh [TOKEN...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
command=(cargo bench --locked --quiet --features 'pkcs11,test-util' --bench pkcs11)
"${command[@]}" --no-run
exec ci/pkcs11.sh "$@" -- "${command[@]}"
