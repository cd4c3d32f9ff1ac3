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
TEST=every_back_end_makes_the_same_bytes

# One directory for all builds: most dependencies are the same in each, and nobody reads a backtrace. With a
# target, flags are not those of macros and build scripts, which are built once.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo_here() {
    (cd "$work/constant_time" && CARGO_BUILD_TARGET=$host CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_TARGET_DIR=$target/agreement cargo "$@")
}

check() {
    local backend=$1 expected=$3 cpu out
    local -x RUSTFLAGS=$2
    cpu=$(cargo_here run --quiet --release --bin cpu)
    if [[ $(uname -m) == x86_64 && $cpu != $expected ]]; then
        echo "$backend: skipped, this CPU has $cpu"
        return
    fi
    if ! out=$(ENVELOCK_AGREEMENT=$mode cargo_here test --quiet --release --test backend_agreement \
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
# The check of graviola that a variable denies a feature is one of debug assertions alone.
printf '\n[profile.release.package.graviola]\ndebug-assertions = true\n' >>"$work/constant_time/Cargo.toml"
check detected "$flags" "*"
check portable "$flags $SOFT" "*"

# built COMMAND...: builds a test with another provider by this command of cargo, and prints its path.
built() {
    local test
    test=$("$@" --no-run --message-format json |
        sed -nE 's/.*"executable":"([^"]*\/(message|backend_agreement)-[^"]*)".*/\1/p')
    [[ -x $test ]] || fail "no test was built by $*"
    echo "$test"
}

# hiding TEST MODE EXPECTED NAME VARIABLE=VALUE...: runs TEST with features of the CPU hidden by variables.
# EXPECTED is the provider that must run.
hiding() {
    local test=$1 mode=$2 expected=$3 name=$4 out
    shift 4
    if ! out=$(env "$@" ENVELOCK_AGREEMENT=$mode "$test" $TEST --nocapture 2>&1 | grep -v '^DEBUG: '); then
        echo "$out"
        fail "$name makes other bytes"
    fi
    grep -q "agreement: $expected, " <<<"$out" || fail "$expected was not what ran: $out"
    echo "$name: $(grep -o 'agreement: .*' <<<"$out" | cut -c 1-71)"
    ran=$((ran + 1))
}

graviola_test=$(built cargo_here test --quiet --release --features graviola --test backend_agreement)
cargo_here build --quiet --release --features graviola --bin provider
provider=$target/agreement/$host/release/provider
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

# The detection of the ciphers, looking for VAES at a bit that is reserved and zero.
changed_copy cpufeatures src/x86.rs 's/("vaes", "zmm", 1, ecx, 9)/("vaes", "zmm", 0, ecx, 16)/'
check aes-ni-without-vaes "$flags" "aes=true vaes=false*"
((ran >= 2)) || fail "only $ran back ends ran"

# aws_lc MODE NAME OPENSSL_IA32CAP: all runs are of one binary. The variable must not be empty: AWS-LC takes
# that for a number.
aws_lc() {
    hiding "$aws_lc_test" "$1" aws-lc-rs "aws-lc-rs, $2" "OPENSSL_ia32cap=$3"
}

# With the flags and features that tests/run.sh has built the test with, and so the C.
aws_lc_test=$(built cargo test --locked --quiet --all-features --test message)
aws_lc "$mode" detected '~0x0'
if [[ $(uname -m) == x86_64 ]]; then
    # Bits of CPUID as AWS-LC has them in two words of 64 bits: leaf 1 (EDX, ECX), then leaf 7
    # (EBX, ECX). It dies of a feature asked for that the CPU has not, which shows that it reads
    # the variable.
    ! (OPENSSL_ia32cap=0xffffffffffffffff "$aws_lc_test" $TEST; exit $?) >/dev/null 2>&1 ||
        fail "AWS-LC does not read OPENSSL_ia32cap any more: no back end of it can be forced"
    aws_lc "$mode" 'AES-NI without VAES and AVX-512' ':~0x60000010000'
    aws_lc sample 'SSSE3 without AES-NI and AVX2' '~0x1200000200000000:~0x60000010020'
    aws_lc sample portable '~0x1208020200000000:~0x60000010020'
fi
echo "$ran back ends of three providers, one digest"
