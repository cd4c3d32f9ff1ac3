#!/usr/bin/env bash
# Proves the arrow rim -> core -> crypto, and the house rules that a search can see, from the
# text of src/. `layering.sh [ROOT]` reads ROOT/src (default: this repository).
#
#   crypto  src/crypto/: uses nothing of the crate but itself; alone in naming cipher crates
#   core    everything else: no std, file, socket, clock, environment, thread, hidden randomness
#   unsafe  src/keyring/pkcs11/ffi/ alone, and each block there says why it is sound
#   facade  `tracing` and `metrics` are named in src/observe/ alone
#   rim     what RIM lists; that it stands behind feature `std` is proved by the build in no_std.sh
#
# ALLOWED has the exceptions, each with its reason.
set -euo pipefail
root=$(cd "${1:-$(dirname "$0")/..}" && pwd)
cd "$root"

LONGEST_FILE=400

# Threads, files, clocks and hidden randomness stand here alone: everything that feature `std` adds. `folder/*`
# is the files of a folder, `folder/` those below it too.
RIM='
src/io/
src/fs/
src/message_file/
src/envelope/io.rs
src/envelope/opened_io.rs
src/keyring/file/*
src/keyring/file/storage/
src/keyring/pkcs11/
src/keyring/caching/
src/random/os.rs
src/threads.rs
src/sync.rs
src/time.rs
src/body/fork_guard.rs
src/observe/metrics.rs
src/observe/queue.rs
src/conformance/
src/test_access/message_file.rs
'

# What a rim may do.
RIM_RULES='std io feature os-random'

# rules | files, as in RIM | what the line must match | reason
ALLOWED='
feature   | src/ | #\[cfg\(.*\)\] => (pub(\([a-z]+\))? )?(const )?(mod|use|impl|fn|extern crate)\b | declares what the rim adds
feature   | src/lib.rs | ^#!?\[cfg_attr\(.*(allow|deny)\( | lints that differ without std
std       | src/lib.rs           | ^extern crate std;$ | the one door to std
std io    | src/error/mod.rs     | std::io::Error | the cause that a reader or writer reported
feature   | src/error/mod.rs src/error/queries.rs | #\[cfg\(feature = "std"\)\] => (Error::)?Io\b | the variant that holds it
os-random | src/lib.rs src/random/mod.rs src/envelope/mod.rs src/envelope/asynchronous.rs | (^pub use .*|^use crate::random::.*|\bR = |^random: |^impl .* for crate::)\bOsRandom\b | the name, and the default generator of an envelope
os-random | src/keyring/memory.rs src/keyring/lifecycle.rs src/policy/apply.rs | (&mut (crate::)?OsRandom\b|^use crate::\{OsRandom,) | conveniences that fill in time and generator
panic     | src/conformance/     | . | a harness reports a broken rule by a panic
unsafe    | src/lib.rs           | ^#!\[cfg_attr\((not\()?all\(feature = "pkcs11", unix\)\)?, (forbid|deny)\(unsafe_code\)\)\]$ | forbids it, or denies it but where it is allowed
unsafe    | src/keyring/pkcs11/ffi/ | (^#!\[allow\(unsafe_code\)\]$|unsafe \{) | the one unsafe module: blocks, each with its reason
binding   | src/keyring/pkcs11/ffi/ | \bcryptoki_sys\b | the one module that calls into C
'

failures=0

fail() {
    failures=$((failures + 1))
    printf 'layering: %s\n' "$1" >&2
    sed 's/^/    /' >&2
}

# Files of src/ that are compiled for tests only: those declared by `#[cfg(test)] mod name;`.
test_files() {
    grep -rn -A1 --include='*.rs' -E '^\s*#\[cfg\(test\)\]' src |
        sed -nE 's#^(src/.*)-[0-9]+-\s*(pub )?mod ([a-z_0-9]+);.*#\1 \3#p' |
        while read -r parent name; do
            folder=$(dirname "$parent")
            case $(basename "$parent") in
                mod.rs | lib.rs) ;;
                *) folder=${parent%.rs} ;;
            esac
            find "$folder/$name" "$folder/$name.rs" -name '*.rs' 2>/dev/null || true
        done
}

# Every line of code as `file:number:text`, without comments and without inline test modules.
code_lines() {
    local tests
    tests=$(test_files)
    find src -name '*.rs' | sort | while read -r file; do
        grep -qxF "$file" <<<"$tests" && continue
        awk -v file="$file" '
            /^[[:space:]]*#\[cfg\(test\)\]/ { pending = 1; next }
            pending && /^[[:space:]]*mod [a-z_0-9]+ \{/ { skipping = 1; pending = 0; next }
            pending { pending = 0; next }
            skipping { if (/^\}/) skipping = 0; next }
            /^[[:space:]]*\/\// { next }
            # What the compiler refuses never comes to run.
            /^[[:space:]]*const (_: \(\) = assert!\(.*\)|\{ assert!\(.*\) \});$/ { next }
            { sub(/[[:space:]]\/\/ .*$/, ""); print file ":" FNR ":" $0 }' "$file"
    done
}

# ALLOWED and RIM, one file at a time.
entries=() allowed_rules=() allowed_files=() patterns=()
allow() {
    local rules=$1 file=$2 pattern=$3
    entries+=("$rules | $file | $pattern")
    allowed_rules+=(" $rules ")
    allowed_files+=("$file")
    patterns+=("$pattern")
}
while read -r file; do
    [ -z "$file" ] || allow "$RIM_RULES" "$file" .
done <<<"$RIM"
while IFS='|' read -r rules files rest; do
    [ -n "$rules" ] || continue
    # The pattern may hold bars; the reason behind the last one does not.
    pattern=$(sed -E 's/^\s*(.*[^ ])\s+\|[^|]*$/\1/' <<<"$rest")
    for file in $files; do
        allow "$(xargs <<<"$rules")" "$file" "$pattern"
    done
done <<<"$ALLOWED"

# Reads `file:number:text`; drops the lines that ALLOWED or RIM has for the rule.
without_allowed() {
    local rule=$1 line file text found index
    while IFS= read -r line; do
        file=${line%%:*}
        text=${line#*:*:}
        text=${text#"${text%%[![:space:]]*}"}
        found=''
        for index in "${!entries[@]}"; do
            [[ ${allowed_rules[index]} == *" $rule "* ]] || continue
            case ${allowed_files[index]} in
                */) [[ $file == "${allowed_files[index]}"* ]] || continue ;;
                */\*) [ "${allowed_files[index]}" = "${file%/*}/*" ] || continue ;;
                *) [ "${allowed_files[index]}" = "$file" ] || continue ;;
            esac
            [[ $text =~ ${patterns[index]} ]] || continue
            found=yes
            printf '%s\n' "${entries[index]}" >>"$used"
        done
        [ -n "$found" ] || printf '%s\n' "$line"
    done
}

# Joins an attribute with what it stands above: `#[cfg(feature = "std")] => mod io;`.
with_declared() {
    awk '
        {
            text = $0; sub(/^[^:]*:[0-9]+:[[:space:]]*/, "", text)
            if (pending != "" && text ~ /^#\[.*\]$/) { waiting = waiting "\n" $0; next }
            if (pending != "") { print pending " => " text; if (waiting != "") print substr(waiting, 2) }
            pending = waiting = ""
            if (text ~ /^#\[cfg\(.*feature = "std".*\)\]$/) { pending = $0; next }
            print
        }'
}

# check RULE MESSAGE PATTERN [FILE_PATTERN]: no line of code matches but what is allowed. Patterns
# are applied to the text and to the file name.
check() {
    local rule=$1 message=$2 pattern=$3 files=${4:-.} found
    found=$(awk -F: -v files="$files" '$1 ~ files' "$code" |
        grep -E -- "^[^:]+:[0-9]+:.*($pattern)" | without_allowed "$rule" || true)
    if [ -n "$found" ]; then
        fail "$message" <<<"$found"
    fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
code=$scratch/code
used=$scratch/used
: >"$used"
code_lines >"$code"
[ -s "$code" ] || { echo "layering: no code under $root/src" >&2; exit 1; }

check crypto 'crypto uses a layer above it' \
    '(crate::\{|crate::[a-bd-z]|crate::c[a-qs-z]|super::super|\benvelock::)' '^src/crypto/'
check ciphers 'a cipher crate is named outside of src/crypto/' \
    '\b(aes|aes_gcm|aws_lc_rs|chacha20poly1305|graviola|xaes_256_gcm|argon2|hmac|hkdf|sha2|subtle)::' '^src/[^c]|^src/c[^r]'
check ciphers 'a cipher crate is imported outside of src/crypto/' \
    '\b(use|extern crate) +(aes|aes_gcm|aws_lc_rs|chacha20poly1305|graviola|xaes_256_gcm|argon2|hmac|hkdf|sha2|subtle)\b' \
    '^src/[^c]|^src/c[^r]'
check std 'std outside of the rim' '\bstd::|extern crate +std\b|\buse +std\b'
with_declared <"$code" >"$scratch/declared"
code=$scratch/declared check feature 'feature `std` decides outside of the rim' 'feature *= *"std"'
check os-random 'hidden randomness outside of the rim' \
    '\b(OsRandom|os_random|getrandom|OsRng|SysRng|thread_rng)\b'
# `core::time` has no clock.
check io 'a file, socket, clock, environment or thread outside of the rim' \
    '\b(std|core|alloc)::(fs|net|env|thread|process|io|path|os)\b|\bstd::time\b|\b(Instant|SystemTime|File|TcpStream|UdpSocket)\b|\benv!|\bthread::|\bprintln!|\beprintln!|\bdbg!'
check facade 'a facade for logs or metrics is named outside of src/observe/' \
    '(^|[^:a-z_])(tracing|metrics)(::|!)|\b(use|extern crate) +(::)?(tracing|metrics)\b' \
    '^src/[^o]|^src/o[^b]'
check unsafe 'unsafe code outside of its module' '\bunsafe(_code)?\b'
check binding 'the binding to C is named outside of its module' '\b(cryptoki_sys|libloading)\b'
check panic 'a panic in waiting' \
    '\.unwrap\(\)|\.unwrap_err\(|\.expect_err\(|\b(panic|todo|unimplemented|unreachable|assert|assert_eq|assert_ne)!'
# `clippy::expect_used` is denied: an `expect` stands under a word of its own, with its reason.
check reason 'a lint is let off without a reason' '#!?\[expect\(clippy::[a-z_]+\)\]'

# "Cannot happen" is never a default: a sum that stops at its limit, or nothing in the place of what
# is missing, says above it or behind it why that is right. Elsewhere ranges are indexed, lengths
# added, input is checked, and what is impossible is an `expect`.
find src -name '*.rs' | sort | grep -vxF "$(test_files)" | xargs awk '
    FNR == 1 { reason = 0; tests = 0 }
    /^#\[cfg\(test\)\]/ { tests = 1 }
    tests { next }
    /\/\/ (Saturates|Nothing): / { reason = 4 }
    /^[[:space:]]*\/\// { next }
    /\.saturating_[a-z]+\(|\.unwrap_or_default\(\)/ && !reason { print FILENAME ":" FNR ":" $0 }
    reason { reason-- }' >"$scratch/defaults"
if [ -s "$scratch/defaults" ]; then
    fail 'a default without its reason' <"$scratch/defaults"
fi

# The comment right above an unsafe block.
find src -name '*.rs' | sort | xargs awk '
    FNR == 1 { reason = 0 }
    /^[[:space:]]*\/\// { if (/SAFETY: /) reason = 1; next }
    /unsafe \{/ && !reason { print FILENAME ":" FNR ":" $0 }
    { reason = 0 }' >"$scratch/no_reason"
if [ -s "$scratch/no_reason" ]; then
    fail 'an unsafe block without its reason' <"$scratch/no_reason"
fi

find src -name '*.rs' | sort | xargs wc -l | grep -v ' total$' | sort -rn >"$scratch/lengths"
awk -v most=$LONGEST_FILE '$1 > most' "$scratch/lengths" >"$scratch/long"
if [ -s "$scratch/long" ]; then
    fail "files of more than $LONGEST_FILE lines" <"$scratch/long"
fi

# An allowance that nothing uses hides the next violation.
for entry in "${entries[@]}"; do
    grep -qxF -- "$entry" "$used" || fail 'an allowance is not used' <<<"$entry"
done

echo "layering: $(wc -l <"$code") lines of code in $(cut -d: -f1 "$code" | sort -u | wc -l) files; the longest:"
head -5 "$scratch/lengths"
if [ "$failures" -ne 0 ]; then
    echo "layering: $failures rules broken" >&2
    exit 1
fi
echo 'layering: rim -> core -> crypto holds'
