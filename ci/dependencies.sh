#!/usr/bin/env bash
# Checks the dependencies of the crate: `zeroize` is on wherever keys are kept, whatever features
# are chosen, nothing unwanted comes with them or with the program, and `src` has unsafe code in one
# module only, behind feature `pkcs11` (THREATS 46; G26).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Runtime dependencies of the default build, build-time ones (proc macros) included.
CEILING=55

# Crates that are linked with the core without `std`, of which 25 are those of the ciphers and hashes.
CORE_CEILING=30

fail() {
    echo "dependencies.sh: $*" >&2
    exit 1
}
command -v cargo >/dev/null || fail "cargo is missing: see https://rustup.rs"

# What must never come in: C code, another runtime.
UNWANTED='openssl|openssl-sys|ring|aws-lc-rs|aws-lc-sys|aws-lc-fips-sys|tokio|async-std|rand|cc|bindgen'
UNWANTED+='|cryptoki|cryptoki-sys|libloading'

# What only a feature that needs it brings; the core has none of it.
NOT_IN_CORE='argon2|blake2|graviola|rustix|serde|serde_json|tracing|metrics|libc|getrandom'

# Each crate that holds key material, and the feature that has it wipe what it held.
WIPED=(
    aes:zeroize aes-gcm:zeroize block-buffer:zeroize chacha20:zeroize chacha20poly1305:zeroize
    cipher:zeroize ctr:zeroize digest:zeroize ghash:zeroize hmac:zeroize poly1305:zeroize
    polyval:zeroize sha2:zeroize
)

# The same, where feature `file` is on.
WIPED_WITH_FILE=(argon2:zeroize blake2:zeroize)

# Every public feature in the manifest, one a line.
features() {
    sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9_-]*\) *=.*/\1/p' Cargo.toml | grep -v '^default$'
}

# tree OPTION...: the crates and features of the normal dependencies.
tree() {
    cargo tree --locked --package envelock --edges normal,features --prefix none "$@"
}

check_wiping() {
    local all have crate feature
    all=$(tree --target all "$@")
    local pairs=("${WIPED[@]}")
    grep -q '^argon2 v' <<<"$all" && pairs+=("${WIPED_WITH_FILE[@]}")
    for pair in "${pairs[@]}"; do
        crate=${pair%%:*}
        feature=${pair#*:}
        grep -q "^$crate v\|^$crate feature" <<<"$all" ||
            fail "$crate is no longer a dependency: take it off its list (with ${*:-the defaults})"
        have=$(grep -c "^$crate feature \"$feature\"" <<<"$all" || true)
        ((have > 0)) || fail "$crate is built without $feature (with ${*:-the defaults})"
        checks=$((checks + 1))
    done
}

check_unwanted() {
    local found
    found=$(cargo tree --locked --package envelock --edges normal,build --prefix none "$@" |
        grep -E "^($UNWANTED) v" || true)
    [[ -z $found ]] || fail "unwanted dependency (with ${*:-the defaults}): $found"
    checks=$((checks + 1))
}

check_core() {
    local found
    found=$(cargo tree --locked --package envelock --edges normal,build --prefix none --no-default-features |
        grep -E "^($NOT_IN_CORE) v" || true)
    [[ -z $found ]] || fail "the core has a dependency of a feature: $found"
    checks=$((checks + 1))
}

# With the feature that brings C code: no generator of bindings, which would need libclang, no
# second copy of AWS-LC, and nothing at run time but its wrapper.
check_aws_lc() {
    local features=(--no-default-features --features aws-lc-rs) normal build found
    normal=$(cargo tree --locked --package envelock --edges normal --prefix none "${features[@]}" | cut -d ' ' -f 1)
    grep -qx aws-lc-sys <<<"$normal" || fail "feature aws-lc-rs brings no AWS-LC"
    build=$(cargo tree --locked --package envelock --edges normal,build --prefix none "${features[@]}")
    found=$(grep -E '^(bindgen|aws-lc-fips-sys|untrusted) v' <<<"$build" || true)
    [[ -z $found ]] || fail "unwanted dependency with feature aws-lc-rs: $found"
    found=$(cargo tree --locked --package envelock --edges normal,features --prefix none "${features[@]}" |
        grep -E '^aws-lc-(rs|sys) feature "(fips|bindgen|unstable|ring-io|all-bindings)"' || true)
    [[ -z $found ]] || fail "unwanted feature of AWS-LC: $found"
    checks=$((checks + 1))
}

# With the feature that brings the other AEADs without C: that crate, in the version that was read.
check_graviola() {
    local added
    added=$(comm -13 <(crates --features std) <(crates --features graviola) | xargs)
    [[ $added == graviola || $added == 'cfg-if graviola' ]] || fail "feature graviola brings: $added"
    grep -qE '^graviola = \{ version = "=[0-9.]+"' Cargo.toml || fail "graviola's version is not pinned"
    checks=$((checks + 1))
}

# With the feature that loads C code at run time: ready bindings and the loader, and nothing else;
# no generator of bindings, no second crate over them.
check_pkcs11() {
    local added expected='cfg-if cryptoki-sys libloading' found
    added=$(comm -13 <(crates --features file) <(crates --features pkcs11) | xargs)
    # `cfg-if` is there already on some targets.
    [[ "cfg-if ${added#cfg-if }" == "$expected" ]] || fail "feature pkcs11 brings: $added"
    found=$(tree --no-default-features --features pkcs11 |
        grep -E '^cryptoki-sys feature "generate-bindings"' || true)
    [[ -z $found ]] || fail "unwanted feature of cryptoki-sys: $found"
    checks=$((checks + 1))
}

# crates OPTION...: the names of the dependencies at run and build time.
crates() {
    cargo tree --locked --package envelock --edges normal,build --prefix none --no-default-features "$@" |
        cut -d ' ' -f 1 | sort -u
}

# Of the program: no C code without a feature, and its manifest says how many crates of others each feature adds.
check_program() {
    local base found feature added
    base=$(program_crates)
    found=$(grep -xE 'ring|libsqlite3-sys' <<<"$base" || true)
    [[ -z $found ]] || fail "unwanted dependency of the program: $found"
    for feature in sqlite transit; do
        added=$(comm -13 <(echo "$base") <(program_crates --features "$feature") | wc -l)
        grep -B1 "^$feature = " crates/envelock-cli/Cargo.toml | grep -q "it adds $added crates to $(wc -l <<<"$base")" ||
            fail "feature $feature of the program adds $added crates to $(wc -l <<<"$base"): say so in its manifest"
        checks=$((checks + 1))
    done
}

program_crates() {
    cargo tree --locked --package envelock-cli --edges normal,build --prefix none "$@" | cut -d ' ' -f 1 |
        grep -v '^envelock' | sort -u
}

checks=0
check_core
check_program
check_aws_lc
check_graviola
check_pkcs11
combinations=("--no-default-features" "" "--all-features")
while read -r feature; do
    combinations+=("--no-default-features --features $feature")
done < <(features)
for combination in "${combinations[@]}"; do
    # shellcheck disable=SC2086 # options, to be split
    check_wiping $combination
done
for combination in "--no-default-features" ""; do
    # shellcheck disable=SC2086
    check_unwanted $combination
done

grep -qxF '#![cfg_attr(not(all(feature = "pkcs11", unix)), forbid(unsafe_code))]' src/lib.rs ||
    fail "src/lib.rs does not forbid unsafe code without feature pkcs11"
grep -qxF '#![cfg_attr(all(feature = "pkcs11", unix), deny(unsafe_code))]' src/lib.rs ||
    fail "src/lib.rs does not deny unsafe code"
unsafe=$(grep -rnE '\bunsafe\b *(\{|fn|impl|extern|trait)' src --include '*.rs' |
    grep -v '^src/keyring/pkcs11/ffi/' || true)
[[ -z $unsafe ]] || fail "unsafe code in src: $unsafe"
equality=$(grep -rnE 'derive\([^)]*(Clone|Debug|PartialEq|Hash)' -A 6 src/crypto/secret.rs |
    grep -E 'struct (DataKey|MasterKey)' || true)
[[ -z $equality ]] || fail "a secret derives what it must not: $equality"

core=$(cargo tree --locked --package envelock --edges normal,no-proc-macro --prefix none --no-default-features |
    cut -d ' ' -f 1 | sort -u | grep -vcx envelock)
((core <= CORE_CEILING)) || fail "$core crates are linked with the core, $CORE_CEILING are allowed"

count=$(cargo tree --locked --package envelock --edges normal,build --prefix none | sed 's/ (\*)$//' | sort -u |
    grep -vc '^envelock v')
((count <= CEILING)) || fail "$count runtime dependencies, $CEILING are allowed"

echo "${#combinations[@]} feature combinations, ${#WIPED[@]} crates that wipe, $checks checks;" \
    "unsafe in one module of src; $count dependencies (ceiling $CEILING), $core without std" \
    "(ceiling $CORE_CEILING)"
