# Runs a command on one fresh token after another; sourced, with the tokens in `tokens`.
#
#     ci/NAME.sh [TOKEN...] [-- COMMAND...]
#
# The command finds the token in the variables of tokens/lib.sh. A token that cannot be set up is a
# failure like one of the command; neither keeps the others from their turn.
# shellcheck shell=bash
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
name=ci/$(basename "$0")
cd "$root"
exec </dev/null

chosen=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ -f "ci/tokens/$1.sh" ] || { echo "$name: there is no ci/tokens/$1.sh" >&2; exit 1; }
    chosen+=("$1")
    shift
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${tokens[@]}")
if [ $# -gt 1 ]; then
    shift
    command=("$@")
else
    # With the features that tests/run.sh has built the crate with.
    command=(cargo test --locked --quiet --all-features --test pkcs11_token)
    # Built before the clock of the first token runs.
    "${command[@]}" --no-run
    # A login is one for the whole process.
    [ -v filter ] || filter=(--skip other_tokens::)
    command+=(-- --test-threads=1 "${filter[@]}")
fi

# Tokens and catalogues sync each change. These files are in memory: other tests cover crashes.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
    export TMPDIR=/dev/shm
fi

# In a sub-shell: the variables of one token are none of the next one's, and its end is the end of
# the token, also if it is killed. Each step is asked for its outcome, because bash does not stop at
# a failure in what is asked for its outcome as a whole.
on_token() (
    dir=$(mktemp -d) || exit 1
    trap 'bash "ci/tokens/$1.sh" --stop "$dir"; rm -rf "$dir"' EXIT
    trap 'exit 1' INT TERM
    variables=$(bash "ci/tokens/$1.sh" "$dir") || exit 1
    eval "$variables" || exit 1
    printf '%s: %s, set up in %d s\n' "$name" "$1" $((SECONDS - started))
    "${command[@]}"
)

failed=()
for token in "${chosen[@]}"; do
    started=$SECONDS
    outcome=passed
    on_token "$token" || { failed+=("$token"); outcome=FAILED; }
    printf '%s: %s: %s in %d s\n' "$name" "$token" "$outcome" $((SECONDS - started))
done
[ ${#failed[@]} -eq 0 ] || { echo "$name: FAILED on ${failed[*]}" >&2; exit 1; }
