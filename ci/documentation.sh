#!/usr/bin/env bash
# Documentation without a warning, with all features and with none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTDOCFLAGS='-D warnings'
source ci/no_c.sh
cargo doc "${no_c[@]}" --locked --quiet --no-deps --workspace --exclude pkcs11-hostile --all-features
cargo doc "${no_c[@]}" --locked --quiet --no-deps --no-default-features
