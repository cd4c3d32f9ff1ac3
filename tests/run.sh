#!/usr/bin/env bash
# Passes every test. Works from any directory, asks nothing, and installs what it needs: Python
# packages into .venv, and as root the Debian packages named below.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
exec </dev/null
source tests/lanes.sh

step=''
begin() {
    step=$1
    started=$SECONDS
    printf '\n== %s\n' "$step"
}
end() { printf -- '-- %s: %d s\n' "$step" $((SECONDS - started)); }
trap 'status=$?; [ $status -eq 0 ] || printf "\ntests/run.sh: FAILED in step: %s\n" "$step" >&2' EXIT

# need COMMAND PACKAGE: makes sure that a command is there, or says how to get it.
need() {
    command -v "$1" >/dev/null && return
    install_package "$2"
    command -v "$1" >/dev/null || { echo "$1 is missing: apt-get install $2" >&2; exit 1; }
}
install_package() {
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        { apt-get update && apt-get install -y --no-install-recommends "$1"; } >/dev/null
    fi
}

begin 'tools'
command -v cargo >/dev/null || { echo 'cargo is missing: https://rustup.rs' >&2; exit 1; }
need cc gcc
need python3 python3
need valgrind valgrind
# Who is root has to fill up and kill on file systems of the tests' own; others cannot mount any.
if [ "$(id -u)" -eq 0 ]; then
    need mount mount
    need mkfs.ext4 e2fsprogs
fi
# The module exists without the part that makes environments work where Debian split it off.
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    install_package python3-venv
    python3 -c 'import venv, ensurepip' ||
        { echo 'python3 has no venv: apt-get install python3-venv' >&2; exit 1; }
fi
end

begin 'cargo test: units, properties, sweeps, vectors, golden files'
bash tests/cargo_test.sh --lib --bins --tests --examples
end

# All features: AWS-LC is the default provider, and its C is built.
begin 'cargo test: providers, asynchronous streams, observers of the facades'
bash tests/cargo_test.sh --all-features --lib --test message --test streams \
    --test keyrings --test memory
end

begin 'cargo test: documentation'
cargo test --locked --quiet --all-features --doc
end

begin 'cargo test without std: units and documentation of the core'
cargo test --locked --quiet --no-default-features --lib
cargo test --locked --quiet --no-default-features --doc
end

# A part that is missing is a failure, not a pass. The longest come first.
part() {
    local started=$SECONDS
    printf '\n== tests/%s.sh\n' "$1"
    [ -f "tests/$1.sh" ] || { echo "tests/$1.sh is missing" >&2; exit 1; }
    bash "tests/$1.sh"
    printf -- '-- tests/%s.sh: %d s\n' "$1" $((SECONDS - started))
}
begin 'parts with a script of their own, two at a time'
two_at_a_time part backend_agreement pkcs11 interleavings pkcs11_asan constant_time pkcs11_hostile \
    python dependencies
end

begin 'cargo run --release --example quickstart'
cargo run --locked --quiet --release --example quickstart
end

begin 'cargo run --release --features pkcs11 --example hsm_quickstart'
# As a reader would, on a token of its own.
hsm=$(mktemp -d)
(
    trap 'rm -rf "$hsm"' EXIT
    bash examples/hsm_setup.sh "$hsm/token"
    # shellcheck disable=SC1091 # Just written.
    source "$hsm/token/env"
    cargo run --locked --quiet --release --features pkcs11 --example hsm_quickstart src
)
end

begin 'cargo run --release --example async_tokio'
cargo run --locked --quiet --release --example async_tokio
end

printf '\ntests/run.sh: every test passed in %d s\n' "$SECONDS"
