#!/usr/bin/env bash
# Sets up a SoftHSM2 token for `examples/hsm_quickstart.rs`, and prints the commands that run it:
#
#     examples/hsm_setup.sh [DIR]
#
# DIR is target/hsm by default. An existing token is used again; remove DIR for a new one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath -m "${1:-$root/target/hsm}")

if [ ! -f "$dir/env" ]; then
    mkdir -p "$dir"
    bash "$root/ci/setup.sh" softhsm
    variables=$(bash "$root/ci/tokens/softhsm.sh" "$dir")
    eval "$variables"
    umask 077
    # As in production: a file that only its owner can read.
    printf %s "$ENVELOCK_P11_PIN" >"$dir/pin"
    {
        grep -v ENVELOCK_P11_SO_PIN <<<"$variables"
        printf "export ENVELOCK_P11_PIN_FILE='%s'\n" "$dir/pin"
        printf "export ENVELOCK_P11_CATALOGUE='%s'\n" "$dir/quickstart.keys"
    } >"$dir/env.new"
    mv "$dir/env.new" "$dir/env"
fi

cat <<EOF
A SoftHSM2 token is ready in $dir. To run the example on it:

    source $dir/env
    cargo run --release --features pkcs11 --example hsm_quickstart
EOF
