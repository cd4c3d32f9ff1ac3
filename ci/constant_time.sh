#!/usr/bin/env bash
# Checks that no branch and no address depends on a secret, by valgrind's memcheck with secrets
# marked undefined: debug and release builds, soft and AES-NI back ends, and graviola's without AVX-512,
# which valgrind lacks (THREATS 41, 42, 43; G18).
#
# Where a comparison's `Choice` becomes a `bool`, the verdict becomes public: copies of `subtle`,
# `ctutils` and `graviola` say so to valgrind there. Nothing is suppressed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/constant_time/workspace.sh"

need valgrind "apt-get install valgrind"
[[ $(uname -m) == x86_64 ]] || fail "the client requests of this harness are for x86_64"

prepare
declassify="$root/ci/constant_time/declassify.rs"
changed_copy subtle src/lib.rs '
    /fn from(source: Choice) -> bool {/a let source = declassified(source);
    $r '"$declassify"
changed_copy ctutils src/choice.rs '
    s/^        choice\.to_bool()$/        declassified(choice).to_bool()/
    $r '"$declassify"
sed -i '/^#!\[forbid(unsafe_code/d' "$work/ctutils/src/lib.rs"
changed_copy graviola src/low/generic/ct_equal.rs '
    s/^    diff == 0$/    declassified(diff) == 0/
    $r '"$declassify"
sed -i 's/\bChoice\b/u8/g' "$work/graviola/src/low/generic/ct_equal.rs"

# With a target, flags are not those of macros and build scripts, which are built once.
host=$(rustc -vV | sed -n 's/^host: //p')
cd "$work/constant_time"
check() {
    local backend=$1 profile=$2 flags=$3 dir=$target/builds
    local program=$dir/$host/$profile/constant_time log=$target/$backend-$profile.log
    local options=(--target "$host" --features memcheck) run provider=RustCrypto
    [[ $profile == debug ]] || options+=("--$profile")
    if [[ $backend == graviola ]]; then
        options+=(--features graviola)
        provider=graviola
    fi
    # ADX, which valgrind does not show, is not needed with the variable, which is read as it is compiled.
    VALGRIND_BUG_494162=1 RUSTFLAGS=$flags CARGO_TARGET_DIR=$dir cargo build --quiet "${options[@]}" \
        --bin constant_time
    run=(valgrind --quiet --num-callers=30 --log-file="$log")
    local cpu
    cpu=$("${run[@]}" "$program" --cpu)
    if [[ $backend == aes-ni && $cpu != "aes=true vaes=false clmul=true"* ]]; then
        fail "this CPU has no AES-NI under valgrind: $cpu"
    fi
    [[ $cpu == *$'\n'"$provider" ]] ||
        fail "$backend $profile: $provider is not what runs under valgrind: $cpu"
    local out=$target/$backend-$profile.out
    if ! "${run[@]}" "$program" >"$out"; then
        cat "$out"
        sed 's/^==[0-9]*== //' "$log" | head -n 100
        fail "$backend $profile: not constant time, or the run broke off; full log in $log"
    fi
    echo "$backend, $profile: $(tail -n 1 "$out"), 0 reports"
    "${run[@]}" "$program" --leak >"$out" || {
        cat "$out"
        fail "$backend $profile: a leak on purpose was not reported"
    }
    echo "$backend, $profile: $(tail -n 1 "$out"), each leak on purpose reported"
}

for backend in aes-ni soft graviola; do
    flags=${RUSTFLAGS:-}
    [[ $backend == aes-ni ]] || flags+=" $SOFT"
    for profile in debug release; do
        check "$backend" "$profile" "$flags"
    done
done
