#!/usr/bin/env bash
# Passes every test, from any directory and without a question. ci/setup.sh, which it calls first, installs
# what is missing: as root Debian packages, and for everybody cargo-nextest and Python packages in .venv.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
exec </dev/null

step=''
begin() {
    step=$1
    started=$SECONDS
    printf '\n== %s\n' "$step"
}
end() {
    printf -- '-- %s: %d s; processors until here, without scripts beside:\n' "$step" $((SECONDS - started))
    times
}
trap 'status=$?; wait; [ $status -eq 0 ] || printf "\ntests/run.sh: FAILED in step: %s\n" "$step" >&2' EXIT

# run PROFILE OPTION...: the tests that .config/nextest.toml has in this profile. Without nextest, those of
# all profiles, in threads of one process for each binary.
run() {
    local profile=$1
    shift
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --locked --cargo-quiet --profile "$profile" "$@"
    else
        cargo test --locked --quiet "$@"
    fi
}

begin 'tools'
bash ci/setup.sh tests
end

# Each has a build or a token of its own. They run beside the other steps, two at a time so that none is left
# to run alone at the end. The first takes seconds; then come the longest, as long as they build nothing in common
# with the steps, and last those that never wait, neither for a token nor for a build.
printf '%s\n' dependencies backend_agreement pkcs11_asan pkcs11 pkcs11_hostile constant_time python interleavings |
    xargs -P 2 -n 1 bash ci/part.sh &
scripts=$!

begin 'tests: units, properties, sweeps, vectors, golden files'
run ci --lib --bins --tests --examples
# By themselves, since their dependencies have other features.
run ci --package envelock-cli --package envelock-ops --package envelock-sqlite --all-features
end

begin 'tests: keyrings over a service, and a real OpenBao'
run ci --package envelock-remote --package envelock-transit --all-features
cargo test --locked --quiet --package envelock-remote --package envelock-transit --all-features --doc
end

# All features: AWS-LC is the default provider, and its C is built.
begin 'tests: providers, asynchronous streams, observers of the facades'
run features --all-features --lib --test message --test streams --test keyrings --test memory
end

begin 'tests of the documentation'
cargo test --locked --quiet --all-features --doc
cargo test --locked --quiet --package envelock-cli --package envelock-ops --package envelock-sqlite --all-features --doc
end

begin 'tests without std: units and documentation of the core'
run ci --no-default-features --lib
cargo test --locked --quiet --no-default-features --doc
end

begin 'examples, as a reader would run them'
# In the profile and with the features of the tests, which have built what they need.
cargo run --locked --quiet --profile test --example quickstart
cargo run --locked --quiet --profile test --example async_tokio
hsm=$(mktemp -d)
(
    trap 'rm -rf "$hsm"' EXIT
    bash examples/hsm_setup.sh "$hsm/token"
    # shellcheck disable=SC1091 # Just written.
    source "$hsm/token/env"
    cargo run --locked --quiet --profile test --all-features --example hsm_quickstart src
)
end

begin 'tests with a script of their own'
wait "$scripts"
end

printf '\ntests/run.sh: every test passed in %d s\n' "$SECONDS"
