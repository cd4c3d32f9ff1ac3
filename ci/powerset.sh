#!/usr/bin/env bash
# Every pair of features compiles. The whole powerset of ten takes a quarter of an hour and finds no more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v cargo-hack >/dev/null || { echo 'cargo-hack is missing: ci/setup.sh checks' >&2; exit 1; }
# Not that of the tests, so that neither waits for the other.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/checks}
source ci/no_c.sh
cargo hack check "${no_c[@]}" --locked --quiet --feature-powerset --depth 2 --lib
