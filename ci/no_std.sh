#!/usr/bin/env bash
# Proves that the core links and runs without std, and that the proof can fail: with a std
# dependency, or with envelock's feature `std`, the same crate must not build.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
crate=$root/ci/no_std
target=${CARGO_TARGET_DIR:-$root/target}/no_std

build() {
    cargo build --quiet --locked --manifest-path "$crate/Cargo.toml" --target-dir "$target" "$@"
}

build --release
echo 'no_std: the core links without std'

cc -o "$target/main" "$crate/main.c" "$target/release/libenvelock_no_std.a" -Wl,--gc-sections
"$target/main" || { echo "no_std: the round trip failed with suite $?" >&2; exit 1; }
echo 'no_std: create, encrypt, rotate, rewrap and decrypt work without std, in every suite'

for feature in std-feature std-dependency; do
    if output=$(build --profile refused --features "$feature" 2>&1); then
        echo "no_std: with $feature it builds too, so the build proves nothing" >&2
        exit 1
    elif ! grep -q 'duplicate lang item' <<<"$output"; then
        echo "no_std: with $feature it fails for another reason:" >&2
        echo "$output" >&2
        exit 1
    fi
    echo "no_std: refused with $feature, as it must be"
done
