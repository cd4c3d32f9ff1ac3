#!/usr/bin/env bash
# Lints without, with the default, and with all features, and of the fuzz targets. Tests and examples use
# feature `std`; without it there is the library alone.
#
# No other toolchain need be there: the declared version is checked by a lint that knows in which release
# each item of the standard library became stable, and by what dependencies declare.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source ci/no_c.sh
clippy() { cargo clippy "${no_c[@]}" --locked --quiet "$@" -- -D warnings -D clippy::incompatible_msrv; }
clippy --lib --no-default-features
clippy --workspace --all-targets
clippy --workspace --all-targets --all-features
# Nor is the fuzzing loop linked, whose C++ a build script would compile.
CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a clippy --all-targets --manifest-path fuzz/Cargo.toml

declared=$(sed -nE 's/^rust-version = "([0-9.]+)"/\1/p' Cargo.toml)
[ -n "$declared" ] || { echo 'Cargo.toml declares no rust-version' >&2; exit 1; }
highest=$(cargo metadata --locked --format-version 1 --all-features | python3 -c '
import json, sys
data = json.load(sys.stdin)
nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
wanted, todo = set(), [data["resolve"]["root"]]
while todo:
    for dep in nodes[todo.pop()]["deps"]:
        normal = any(kind["kind"] is None for kind in dep["dep_kinds"])
        if normal and dep["pkg"] not in wanted:
            wanted.add(dep["pkg"])
            todo.append(dep["pkg"])
versions = [p["rust_version"] for p in data["packages"] if p["id"] in wanted and p["rust_version"]]
print(max(versions, key=lambda v: [int(part) for part in v.split(".")]))')
if [ "$(printf '%s\n' "$declared" "$highest" | sort -V | tail -1)" != "$declared" ]; then
    echo "a dependency needs Rust $highest, Cargo.toml declares $declared" >&2
    exit 1
fi
echo "Rust $declared is declared, dependencies need $highest at most"
