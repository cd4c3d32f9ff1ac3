#!/usr/bin/env bash
# Proves the set-up scripts without the crate: `check.sh [TOKEN...]`. Each token is there under its
# label, opens with its PIN and with no other, and a second one beside it is another one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec </dev/null
command -v cc >/dev/null || { echo 'cc is missing: apt-get install gcc' >&2; exit 1; }

work=$(mktemp -d)
cleanup() {
    for dir in "$work"/*/; do
        [ ! -f "$dir/name" ] || bash "$here/$(<"$dir/name").sh" --stop "$dir/token"
    done
    rm -rf "$work"
}
trap cleanup EXIT
cc -std=c11 -Wall -O1 -o "$work/probe" "$here/probe.c" -ldl

fail() {
    echo "ci/tokens/check.sh: $token: $*" >&2
    exit 1
}

# set_up PLACE [ARGUMENT...]: a token of its own in $work/PLACE/token.
set_up() {
    local place=$work/$1
    shift
    mkdir -p "$place/token"
    echo "$token" >"$place/name"
    # By a pipe, as `$(...)` has it: a daemon that held on to its output would keep us waiting.
    bash "$here/$token.sh" "$place/token" "$@" | timeout 600 cat >"$place/variables" ||
        fail 'the set-up fails, or its output has no end'
    if grep -vE "^export [A-Z0-9_]+='.*'\$" "$place/variables"; then
        fail 'it prints more than variables'
    fi
}

# on PLACE COMMAND...: with the variables of that token.
on() (
    # shellcheck disable=SC1090
    source "$work/$1/variables"
    shift
    "$@"
)
probe() { on "$1" "$work/probe" "$2" 2>>"$work/log"; }
counts() { [ "$(probe "$1" count)" = "$2" ] || fail "$1 has $(probe "$1" count) keys, not $2"; }

# checked PLACE: logs in, and not with another PIN.
checked() {
    probe "$1" login || { cat "$work/log" >&2; fail "no login to $1"; }
    probe "$1" wrong || fail "$1 takes any PIN"
    probe "$1" login || fail "no login to $1 after a wrong PIN"
}

two_tokens() {
    set_up "$token-a"
    checked "$token-a"
    if [ "$token" = tpm2 ]; then
        set_up "$token-b"
        counts "$token-a" 4
        probe "$token-a" destroy || fail 'no key can be destroyed'
        counts "$token-a" 3
        counts "$token-b" 4
    else
        counts "$token-a" 0
        probe "$token-a" make || fail 'no key can be made'
        set_up "$token-b"
        counts "$token-a" 1
        counts "$token-b" 0
    fi
    checked "$token-b"
    if bash "$here/$token.sh" "$work/$token-a/token" >/dev/null 2>&1; then
        fail 'a directory in use is taken'
    fi
}

# The end of one of two tokens is not that of the other, and can be asked for twice.
ends() {
    bash "$here/$token.sh" --stop "$work/$token-a/token"
    bash "$here/$token.sh" --stop "$work/$token-a/token"
    case $token in
    opencryptoki | tpm2 | p11_kit)
        if probe "$token-a" login; then fail 'it is there after its end'; fi
        ;;
    esac
    probe "$token-b" login || fail 'the second token ends with the first one'
    bash "$here/$token.sh" --stop "$work/$token-b/token"
}

of_softhsm() {
    set_up softhsm-three 3
    for label in envelock envelock-2 envelock-3; do
        on softhsm-three env ENVELOCK_P11_LABEL="$label" "$work/probe" login ||
            fail "no login to $label"
    done
}

of_p11_kit() {
    # shellcheck disable=SC2016 # Expanded with the variables of the token.
    for _ in 1 2; do on p11_kit-a eval 'sh -c "$ENVELOCK_P11_KILL"'; done
    if probe p11_kit-a login; then fail 'the server is killed and answers'; fi
    # shellcheck disable=SC2016 # Expanded with the variables of the token.
    for _ in 1 2; do on p11_kit-a eval 'sh -c "$ENVELOCK_P11_RESTART"'; done
    counts p11_kit-a 1
}

[ $# -gt 0 ] || set -- softhsm nss opencryptoki kryoptic tpm2 p11_kit
for token; do
    started=$SECONDS
    two_tokens
    [ "$(type -t "of_$token")" != function ] || "of_$token"
    ends
    printf 'ci/tokens/check.sh: %s: passed in %d s\n' "$token" $((SECONDS - started))
done
