#!/usr/bin/env bash
# Documentation without a warning, with all features and with none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTDOCFLAGS='-D warnings'
cargo doc --locked --quiet --no-deps --workspace --exclude pkcs11-hostile --all-features
cargo doc --locked --quiet --no-deps --no-default-features
