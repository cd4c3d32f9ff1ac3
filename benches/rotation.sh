#!/usr/bin/env bash
# What a rotation costs: times a job and censuses over copies of one message of 64 KiB, and 1 GiB that is decrypted and
# encrypted again. `benches/rotation.sh [ITEMS]` prints the table of docs/OPERATING.md. Room: ITEMS x 64 KiB and 3 GiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
items=${1:-10000}
cargo build --quiet --release --locked -p envelock-cli
PATH="$PWD/${CARGO_TARGET_DIR:-target}/release:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export ENVELOCK_KEYRING='file:orders.keys?raw-key-file=secret'
(umask 077 && head -c 32 /dev/urandom >secret)
envelock key create orders --new-keyring >/dev/null
mkdir data
head -c 65536 /dev/zero | envelock encrypt --aad item -o data/0 >/dev/null
seq 1 $((items - 1)) | xargs -I{} -P2 cp data/0 data/{}
envelock key rotate orders >/dev/null
sync

seconds() { # NAME COMMAND...
    local name=$1 began
    shift
    began=$(date +%s%N)
    "$@" >/dev/null 2>&1
    awk -v name="$name" -v ns=$(($(date +%s%N) - began)) -v items="$items" \
        'BEGIN { printf "%-28s %8.2f s %8.1f us an item\n", name, ns / 1e9, ns / 1e3 / items }'
}
echo "$items items of 64 KiB"
seconds 'listing (find)' find data -type f
seconds 'census by labels' envelock census dir:data
seconds 'census, opened' envelock census dir:data --opened
seconds 'rewrap' envelock job start dir:data -d job --canary none
seconds 'rewrap again, all current' envelock job start dir:data -d again --canary none
echo "undo log $(($(stat -c %s job/0-of-1.undo) / items)) bytes an item"

head -c 1073741824 /dev/zero | envelock encrypt --aad large -o large >/dev/null
began=$(date +%s%N)
envelock decrypt large --aad large | envelock encrypt --aad large -o again-large >/dev/null
sync again-large
awk -v ns=$(($(date +%s%N) - began)) 'BEGIN { printf "decrypt and encrypt again     %8.2f s a GiB\n", ns / 1e9 }'
