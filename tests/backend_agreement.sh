#!/usr/bin/env bash
# Judges that every CPU back end makes the same bytes: runs tests/backend_agreement.rs, whose
# digest is a constant, with what this CPU offers, with AES-NI and no VAES, and with the portable
# code (THREATS 45; G21). `sample` as its argument takes a sample of the cases.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/constant_time/workspace.sh"

mode=${1:-full}
[[ $mode == full || $mode == sample ]] || fail "usage: $(basename "$0") [full|sample]"

judge() {
    local backend=$1 flags=$2 expected=$3 dir=$target/$1 cpu out
    cd "$work/constant_time"
    export RUSTFLAGS=$flags CARGO_TARGET_DIR=$dir
    cpu=$(cargo run --quiet --release --bin cpu)
    if [[ $(uname -m) == x86_64 && $cpu != $expected ]]; then
        echo "$backend: skipped, this CPU has $cpu"
        return
    fi
    if ! out=$(ENVELOCK_AGREEMENT=$mode cargo test --quiet --release --test backend_agreement \
        -- --nocapture 2>&1); then
        echo "$out"
        fail "$backend makes other bytes"
    fi
    echo "$backend ($cpu): $(grep -o 'agreement: .*' <<<"$out" | cut -c 1-60)"
    ran=$((ran + 1))
}

flags=${RUSTFLAGS:-}
ran=0
prepare
judge detected "$flags" "*"
judge portable "$flags $SOFT" "*"
prepare
# The detection of the ciphers, looking for VAES at a bit that is reserved and zero.
changed_copy cpufeatures src/x86.rs 's/("vaes", "zmm", 1, ecx, 9)/("vaes", "zmm", 0, ecx, 16)/'
judge aes-ni-without-vaes "$flags" "aes=true vaes=false*"
((ran >= 2)) || fail "only $ran back end ran"
echo "$ran back ends, one digest"
