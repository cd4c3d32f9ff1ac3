#!/usr/bin/env bash
# Sets up a SoftHSM2 token for `examples/hsm_quickstart.rs`, and prints how to run that:
#
#     examples/hsm_setup.sh [DIR]
#
# DIR is target/hsm by default. A token that is there already is used again, keys and all; to begin
# afresh remove DIR. As root it installs SoftHSM2 if that is missing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath -m "${1:-$root/target/hsm}")

if [ ! -f "$dir/env" ]; then
    mkdir -p "$dir"
    bash "$root/ci/setup.sh" softhsm
    variables=$(bash "$root/ci/tokens/softhsm.sh" "$dir")
    eval "$variables"
    umask 077
    # As an application would have it: in a file of its own, that nobody else can read.
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
