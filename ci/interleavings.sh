#!/usr/bin/env bash
# Explores how threads that wrap, rewrap, rotate, disable, destroy and switch aliases can
# interleave: 100,000 schedules, half at random, half by priorities (THREATS 73; G27). The models are
# in tests/interleavings/models.rs; they need another lock, and so a build of their own.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# At least this many schedules in all.
LEAST=100000

output=$(RUSTFLAGS="${RUSTFLAGS:-} --cfg envelock_shuttle" CARGO_TARGET_DIR=target/interleavings \
    cargo test --locked --quiet --package envelock --no-default-features --features std --lib interleavings -- \
    --nocapture --test-threads 2 2>&1) ||
    { printf '%s\n' "$output" | tail -60 >&2; echo "interleavings.sh: a schedule fails" >&2; exit 1; }
grep -E ': [0-9]+ schedules$' <<<"$output"
count=0
for schedules in $(sed -nE 's/.*: ([0-9]+) schedules$/\1/p' <<<"$output"); do
    count=$((count + schedules))
done
((count >= LEAST)) || { echo "interleavings.sh: $count schedules, $LEAST are needed" >&2; exit 1; }
echo "$count schedules"
