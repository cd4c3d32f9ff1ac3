#!/usr/bin/env bash
# Every pair of features compiles. The whole powerset of ten takes a quarter of an hour and finds no more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v cargo-hack >/dev/null || { echo 'cargo-hack is missing: ci/setup.sh checks' >&2; exit 1; }
# A directory of its own, so that it need not wait for other builds.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/powerset
cargo hack check --locked --quiet --feature-powerset --depth 2 --lib
