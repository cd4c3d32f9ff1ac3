#!/usr/bin/env bash
# Checks that every CPU back end of every provider makes the same bytes: runs
# tests/message/backend_agreement.rs, whose digest is a constant, with what this CPU offers, with AES-NI
# and no VAES, and with the portable code, then the same of AWS-LC and of graviola (THREATS 45; G21).
# `sample` as its argument takes a sample of the cases. AWS-LC without AES instructions is sampled always: all
# cases take it two minutes, most of them in code that does not know how its buffers are aligned.
# Then qemu takes away what graviola needs: RustCrypto must be what runs, and nothing may panic (THREATS 87).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/constant_time/workspace.sh"

mode=${1:-full}
[[ $mode == full || $mode == sample ]] || fail "usage: $(basename "$0") [full|sample]"

check() {
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
check detected "$flags" "*"
check portable "$flags $SOFT" "*"
prepare
# The detection of the ciphers, looking for VAES at a bit that is reserved and zero.
changed_copy cpufeatures src/x86.rs 's/("vaes", "zmm", 1, ecx, 9)/("vaes", "zmm", 0, ecx, 16)/'
check aes-ni-without-vaes "$flags" "aes=true vaes=false*"
((ran >= 2)) || fail "only $ran back end ran"

# build_test FEATURE: builds the test with another provider and prints its path.
build_test() {
    local test
    test=$(cargo test --quiet --release --features "$1" --test backend_agreement --no-run \
        --message-format json | sed -nE 's/.*"executable":"([^"]*backend_agreement[^"]*)".*/\1/p')
    [[ -x $test ]] || fail "no test was built with $1"
    echo "$test"
}

# hiding TEST MODE EXPECTED NAME VARIABLE=VALUE...: runs TEST with features of the CPU hidden by variables.
# EXPECTED is the provider that must run.
hiding() {
    local test=$1 mode=$2 expected=$3 name=$4 out
    shift 4
    if ! out=$(env "$@" ENVELOCK_AGREEMENT=$mode "$test" --nocapture 2>&1 | grep -v '^DEBUG: '); then
        echo "$out"
        fail "$name makes other bytes"
    fi
    grep -q "agreement: $expected, " <<<"$out" || fail "$expected was not what ran: $out"
    echo "$name: $(grep -o 'agreement: .*' <<<"$out" | cut -c 1-71)"
    ran=$((ran + 1))
}

# aws_lc MODE NAME OPENSSL_IA32CAP: all runs are of one binary. The variable must not be empty: AWS-LC takes
# that for a number.
aws_lc() {
    hiding "$aws_lc_test" "$1" aws-lc-rs "aws-lc-rs, $2" "OPENSSL_ia32cap=$3"
}

prepare
cd "$work/constant_time"
export RUSTFLAGS=$flags CARGO_TARGET_DIR=$target/aws-lc-rs
aws_lc_test=$(build_test aws-lc-rs)
aws_lc "$mode" detected '~0x0'
if [[ $(uname -m) == x86_64 ]]; then
    # Bits of CPUID as AWS-LC has them in two words of 64 bits: leaf 1 (EDX, ECX), then leaf 7
    # (EBX, ECX). It dies of a feature asked for that the CPU has not, which shows that it reads
    # the variable.
    ! (OPENSSL_ia32cap=0xffffffffffffffff "$aws_lc_test"; exit $?) >/dev/null 2>&1 ||
        fail "AWS-LC does not read OPENSSL_ia32cap any more: no back end of it can be forced"
    aws_lc "$mode" 'AES-NI without VAES and AVX-512' ':~0x60000010000'
    aws_lc sample 'SSSE3 without AES-NI and AVX2' '~0x1200000200000000:~0x60000010020'
    aws_lc sample portable '~0x1208020200000000:~0x60000010020'
fi

# The check of graviola that a variable denies a feature is one of debug assertions alone.
prepare
cd "$work/constant_time"
printf '\n[profile.release.package.graviola]\ndebug-assertions = true\n' >>Cargo.toml
export CARGO_TARGET_DIR=$target/graviola
graviola_test=$(build_test graviola)
cargo build --quiet --release --features graviola --bin provider
provider=$CARGO_TARGET_DIR/release/provider
if [[ $("$provider") == graviola ]]; then
    hiding "$graviola_test" "$mode" graviola 'graviola, detected'
    if [[ $(uname -m) == x86_64 ]]; then
        hiding "$graviola_test" "$mode" graviola 'graviola, without AVX-512' GRAVIOLA_CPU_DISABLE_avx512f=1
        hiding "$graviola_test" sample RustCrypto 'graviola, without AES' GRAVIOLA_CPU_DISABLE_aes=1
    fi
else
    echo "graviola: skipped, this CPU has not what it needs"
fi

# on FEATURES EXPECTED: every provider on a CPU that qemu takes features from.
on() {
    local cpu=max$1 expected=$2 out
    out=$(qemu-x86_64 -cpu "$cpu" "$provider" 2>"$target/qemu.log") && [[ $out == "$expected" ]] || {
        cat "$target/qemu.log"
        fail "on $cpu runs '$out', not $expected"
    }
    without=$((without + 1))
}

if [[ $(uname -m) == x86_64 ]]; then
    need qemu-x86_64 "ci/setup.sh tests"
    without=0
    on '' graviola
    # Without BMI1 and with AVX2, which no CPU is, the C library does not run either.
    for feature in aes pclmulqdq avx avx2 adx bmi1,-avx2 xsave aes,-pclmulqdq,-avx,-avx2,-bmi1,-adx; do
        on ",-$feature" RustCrypto
    done
    for feature in bmi2 fma f16c movbe popcnt vaes sha-ni; do
        on ",-$feature" graviola
    done
    echo "graviola: chosen where it runs and nowhere else, on $without processors"
fi
echo "$ran back ends of three providers, one digest"
