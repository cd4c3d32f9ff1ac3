#!/usr/bin/env bash
# `cargo test` with its test programs run two at a time.
#
#     tests/cargo_test.sh OPTION-OF-CARGO-TEST...
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
exec </dev/null
source tests/lanes.sh

built=$(cargo test --locked --quiet --no-run --message-format json-render-diagnostics "$@")
# Programs that are no tests have `"test":false` in their profile.
mapfile -t programs < <(sed -nE 's/.*"test":true.*"executable":"([^"]+)".*/\1/p' <<<"$built")
[ ${#programs[@]} -gt 0 ] || { echo "cargo_test.sh: no tests with $*" >&2; exit 1; }

# Prints all that a test program says if it fails, else its last line.
run() {
    local name said
    name=$(basename "$1")
    said=$("$1" --quiet 2>&1) || { printf '%s\n%s: FAILED\n' "$said" "$name"; exit 1; }
    # One that calls `exit` says nothing of its tests.
    said=$(grep '^test result: ok' <<<"$said") || { echo "$name: no result"; exit 1; }
    printf '%-28s %s\n' "${name%-*}" "${said#test result: ok. }"
}
two_at_a_time run "${programs[@]}"
echo "${#programs[@]} test programs passed"
