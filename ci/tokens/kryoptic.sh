#!/usr/bin/env bash
# kryoptic, the strictest of the tokens: `kryoptic.sh DIR`, see lib.sh.
#
# No distribution has it yet: the crate in kryoptic/ is built once, into kryoptic/target or
# $CARGO_TARGET_DIR/kryoptic, and used again from there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
crate=$here/kryoptic
target=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/kryoptic}
target=$(realpath -m "${target:-$crate/target}")
module=$target/release/libkryoptic_pkcs11.so
pin=12345678

begin "$@"
command -v cargo || fail 'cargo is missing: https://rustup.rs'
need_packages

# A test that sets up a second token must not wait for a build because its own compiler is another
# one, and flags that are meant for the crate under test are not for this one.
if ! [[ $module -nt $crate/Cargo.toml && $module -nt $crate/Cargo.lock &&
    $module -nt $crate/src/lib.rs ]]; then
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        cargo build --locked --release --manifest-path "$crate/Cargo.toml" --target-dir "$target" ||
        fail 'kryoptic cannot be built; cargo needs the network once'
    [ -f "$module" ] || fail "cargo did not build $module"
fi

cat >"$dir/kryoptic.conf" <<EOF
[[slots]]
slot = 42
dbtype = "sqlite"
dbargs = "$dir/token.sql"
EOF
export KRYOPTIC_CONF=$dir/kryoptic.conf
tool() { pkcs11-tool --module "$module" --slot 42 "$@"; }
tool --init-token --label envelock --so-pin "$so_pin"
tool --login --login-type so --so-pin "$so_pin" --init-pin --new-pin "$pin"

answer_token "$module" envelock "$pin" "$so_pin"
answer KRYOPTIC_CONF "$KRYOPTIC_CONF"
