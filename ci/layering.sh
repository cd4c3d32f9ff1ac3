#!/usr/bin/env bash
# Proves the arrow rim -> core -> crypto, and the house rules that a search can see, from the
# text of src/. `layering.sh [ROOT]` reads ROOT/src (default: this repository).
#
#   crypto  src/crypto/: uses nothing of the crate but itself; alone in naming cipher crates
#   core    everything else: no std, file, socket, clock, environment, thread, hidden randomness
#   unsafe  src/keyring/pkcs11/ffi/ alone, and each block there says why it is sound
#   facade  `tracing` and `metrics` are named in src/observe/ alone
#   rim     what ALLOWED lists, each with its reason; that it stands behind feature `std` is
#           proved by the build in no_std.sh
set -euo pipefail
root=$(cd "${1:-$(dirname "$0")/..}" && pwd)
cd "$root"

LONGEST_FILE=400

# Where defaults need no reason yet.
UNEXPLAINED='^src/(crypto/refusals|keyring/file/storage/|conformance/|internals/)'

# rule | file, or a folder with a slash behind it | what the line must match | reason
ALLOWED='
std       | src/lib.rs            | ^extern crate std;$            | the one door to std, behind its feature
std       | src/sync.rs           | std::sync                      | a lock that parks; spin takes its place without std
std       | src/threads.rs        | std::thread                    | the rim: threads that share a body, behind feature std
io        | src/threads.rs        | std::thread                    | the rim: the same
feature   | src/threads.rs        | .                              | without std a body is on one thread
std       | src/body/fork.rs      | std::process::id               | the rim: which process this is, behind feature std
io        | src/body/fork.rs      | std::process::id               | the rim: the same
feature   | src/body/fork.rs      | .                              | without std there is no fork
std       | src/keyring/caching/  | std::(sync::|time::Instant)    | the rim: the cache, threads that wait for one call, and the age of a key
io        | src/keyring/caching/clock.rs  | .                      | the rim: the one clock of the cache
feature   | src/keyring/mod.rs    | .                              | declares the caching keyring, part of the rim
std       | src/observe/          | std::sync::                   | the rim: names with series, events that wait for a report
feature   | src/lib.rs            | .                              | declares the rim
feature   | src/envelope/mod.rs   | .                              | declares envelope/os.rs, part of the rim
feature   | src/sync.rs           | .                              | chooses the lock
feature   | src/keyring/memory.rs | .                              | conveniences that fill in the generator of the rim
os-random | src/lib.rs            | ^pub use random::\{.*OsRandom | declares the rim
os-random | src/random/           | \b(OsRandom|getrandom)\b       | the rim: one system call a message
feature   | src/random/           | .                              | without std there is no system call
os-random | src/envelope/os.rs    | .                              | the rim: every operation with OS randomness filled in
os-random | src/keyring/memory.rs | &mut crate::OsRandom           | conveniences behind feature std
std       | src/message_file/           | .                              | the rim: messages in files, and who works on one at a time
io        | src/message_file/           | .                              | the rim: the same
std       | src/envelope/file.rs | ^use std::path::Path;$         | the rim: operations on message files, behind feature file
io        | src/envelope/file.rs | ^use std::path::Path;$         | the rim: the same
std       | src/fs/              | .                              | the rim: the one door to the file system
io        | src/fs/              | .                              | the rim: the same
os-random | src/fs/replace.rs    | crate::OsRandom                | the rim: names that nobody foresees
std       | src/keyring/file/*    | .                              | the rim: files, locks and the threads that share them; format/ below it is bytes to bytes
io        | src/keyring/file/*    | .                              | the rim: the same
std       | src/keyring/file/storage/ | .                          | the rim: the same
io        | src/keyring/file/storage/ | .                          | the rim: the same
os-random | src/keyring/file/*    | .                              | the rim: names that nobody foresees, fresh keys
std       | src/time.rs           | std::time::                    | the one reading of the system clock, behind feature std
io        | src/time.rs           | std::time::                    | the same
feature   | src/time.rs           | .                              | declares it
os-random | src/keyring/lifecycle.rs | .                           | conveniences that fill in time and generator, behind feature std
feature   | src/keyring/lifecycle.rs | .                           | the same
os-random | src/policy/apply.rs   | &mut crate::OsRandom            | the same
feature   | src/policy/apply.rs   | .                              | the same
std       | src/io/               | .                              | the rim: adapters for the readers and writers of std
io        | src/io/               | .                              | the rim: the same
std       | src/error/mod.rs      | std::io::Error                 | what a reader or writer said, behind feature std
io        | src/error/mod.rs      | std::io::Error                 | the same
feature   | src/error/mod.rs      | .                              | the same
feature   | src/error/answers.rs  | .                              | the same
feature   | src/stream/           | .                              | what the adapters alone ask of a stream
panic     | src/conformance/      | .                              | a harness tells of a broken rule by a panic
std       | src/conformance/      | .                              | runs in tests alone, behind features test-util and std
io        | src/conformance/      | thread::                       | judges keyrings from eight threads at once
std       | src/internals/message_file.rs | std::(ffi::OsStr|io::Read|path::Path);$ | the files that tests of message files simulate
io        | src/internals/message_file.rs | std::(io::Read|path::Path);$ | the same
feature   | src/conformance/mod.rs | .                              | what needs threads stands behind std
std       | src/keyring/pkcs11/   | .                              | the rim: a library, its path, threads that share it, clocks
io        | src/keyring/pkcs11/   | .                              | the rim: the same
os-random | src/keyring/pkcs11/   | .                              | the rim: IVs of self-tests, ids, the key of a catalogue
unsafe    | src/lib.rs            | ^#!\[cfg_attr\(not\(all\(feature = "pkcs11", unix\)\), forbid\(unsafe_code\)\)\]$ | the word that forbids it
unsafe    | src/lib.rs            | ^#!\[cfg_attr\(all\(feature = "pkcs11", unix\), deny\(unsafe_code\)\)\]$ | the word that forbids it but where it is allowed
unsafe    | src/keyring/pkcs11/ffi/ | (^#!\[allow\(unsafe_code\)\]$|unsafe \{) | the one unsafe module: blocks, each with its reason
binding   | src/keyring/pkcs11/ffi/ | \bcryptoki_sys\b             | the one module that calls into C
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

# ALLOWED, column by column.
entries=() allowed_rules=() allowed_files=() patterns=()
while IFS='|' read -r rule file rest; do
    [ -n "$rule" ] || continue
    entries+=("$rule|$file|$rest")
    allowed_rules+=("${rule// /}")
    allowed_files+=("${file// /}")
    # The pattern may hold bars; the reason behind the last one does not.
    patterns+=("$(sed -E 's/^\s*(.*[^ ])\s+\|[^|]*$/\1/' <<<"$rest")")
done <<<"$ALLOWED"

# Reads `file:number:text`; drops the lines that ALLOWED has for the rule.
without_allowed() {
    local rule=$1 line file text found index
    while IFS= read -r line; do
        file=${line%%:*}
        text=${line#*:*:}
        text=${text#"${text%%[![:space:]]*}"}
        found=''
        for index in "${!entries[@]}"; do
            [ "${allowed_rules[index]}" = "$rule" ] || continue
            # `folder/*` stands for the files of the folder, `folder/` for those below it too.
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
    '\b(aes|aes_gcm|aws_lc_rs|chacha20poly1305|xaes_256_gcm|argon2|hmac|hkdf|sha2|subtle)::' '^src/[^c]|^src/c[^r]'
check ciphers 'a cipher crate is imported outside of src/crypto/' \
    '\b(use|extern crate) +(aes|aes_gcm|aws_lc_rs|chacha20poly1305|xaes_256_gcm|argon2|hmac|hkdf|sha2|subtle)\b' \
    '^src/[^c]|^src/c[^r]'
check std 'std outside of the rim' '\bstd::|extern crate +std\b|\buse +std\b'
check feature 'feature `std` decides outside of the rim' 'feature *= *"std"'
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
find src -name '*.rs' | sort | grep -Ev "$UNEXPLAINED" | xargs awk '
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
while IFS= read -r entry; do
    [ -n "$entry" ] || continue
    grep -qxF -- "$entry" "$used" || fail 'an allowance is not used' <<<"$entry"
done <<<"$ALLOWED"

echo "layering: $(wc -l <"$code") lines of code in $(cut -d: -f1 "$code" | sort -u | wc -l) files; the longest:"
head -5 "$scratch/lengths"
if [ "$failures" -ne 0 ]; then
    echo "layering: $failures rules broken" >&2
    exit 1
fi
echo 'layering: rim -> core -> crypto holds'
