#!/bin/sh
# An independent decoder and encoder in Python check this crate, both ways:
#
#     ci/python.sh [SEED]
#
# In the virtual environment .venv (or $ENVELOCK_VENV) that ci/setup.sh makes.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "ci/python.sh: $*" >&2
    exit 1
}

venv=${ENVELOCK_VENV:-.venv}
seed=${1:-1}
python=$venv/bin/python
export PYTHONDONTWRITEBYTECODE=1

[ -x "$python" ] && cmp -s ci/python/requirements.txt "$venv/installed-requirements.txt" ||
    fail "$venv is missing or old: run ci/setup.sh"
"$python" -c 'import cryptography.cobblestone' ||
    fail "$venv has no cryptography.cobblestone; remove $venv and run this again"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ENVELOCK_PYTHON_DIR="$work"

check() {
    "$python" ci/python/check.py "$@" || fail "check.py $1 failed (seed $seed)"
}

# The filter must match: a renamed test would otherwise be no test, and pass.
rust() {
    cargo test --locked --quiet --test message -- --ignored --exact "$1::$2" >"$work/log" 2>&1 ||
        { cat "$work/log"; fail "$2 failed (seed $seed)"; }
    grep -q ' 1 passed' "$work/log" || { cat "$work/log"; fail "$2 did not run"; }
    echo "rust: $2"
}

stream() {
    "$python" ci/python/stream.py "$@" || fail "stream.py $1 failed (seed $seed)"
}

tokens() {
    "$python" ci/python/token_answers.py "$@" || fail "token_answers.py $1 failed"
}

check vectors
check examples src/format/SPEC.md
"$python" ci/python/rewrap.py src/format/SPEC.md || fail "rewrap.py failed"
tokens examples src/format/SPEC.md
tokens probe src/keyring/pkcs11/key/known_answers.rs
check read tests/golden/v1
rust python_messages writes_messages_that_python_opens
check read "$work/from-rust"
check write "$work/from-python" "$seed"
rust python_messages python_messages_open_and_malformed_do_not
"$python" ci/python/keyfile.py tests/golden/keyfile tests/golden/keyfile2 || fail "keyfile.py failed"
check mutants tests/golden/v1 "$work/mutants" "$seed"
rust python_messages changed_messages_get_the_same_verdict_as_in_python
rust python_streams writes_a_stream_that_python_opens
stream read "$work/stream-from-rust"
stream write "$work/stream-from-python" "$seed"
rust python_streams stream_made_in_python_opens
echo "ci/python.sh: all passed"
