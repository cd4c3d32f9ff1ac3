#!/usr/bin/env bash
# Formatting of every package, those outside the workspace too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo fmt --all --check
for package in fuzz ci/asan ci/constant_time ci/no_std ci/tokens/kryoptic; do
    cargo fmt --check --manifest-path "$package/Cargo.toml"
done
