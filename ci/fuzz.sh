#!/usr/bin/env bash
# Builds the fuzz targets once and runs each for SECONDS (default $FUZZ_SECONDS or 60), two at a time, from the
# committed seeds. What a run finds interesting is thrown away; a crash is kept and fails.
#
#   fuzz.sh [SECONDS] [TARGET...]
#   KEEP=DIR fuzz.sh 36000 header     a long run, its corpus kept in DIR/header
#
# A crash is run again by: RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET fuzz/artifacts/TARGET/FILE
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
seconds=${1:-${FUZZ_SECONDS:-60}}
shift $(($# > 0 ? 1 : 0))

# Longest input of a target in bytes, where it is not this.
MAX_LEN=4096
# Longest input of a target that reads whole key files.
KEY_FILE_LEN=16384

# Seconds that one input may take: a parser that makes no progress fails here, a busy machine does
# not.
INPUT_SECONDS=30

for tool in c++ cargo-fuzz; do
    command -v "$tool" >/dev/null || { echo "fuzz: $tool is missing: run ci/setup.sh checks" >&2; exit 1; }
done
# Sanitizers and coverage are flags of nightly compilers; this opens them to a stable one.
export RUSTC_BOOTSTRAP=1
host=$(rustc -vV | sed -n 's/^host: //p')
# The fuzzing loop in C++ is not what is tested. LLVM builds it without a sanitizer too; with one, it takes three
# times as long to build, and each input longer to run.
export CXXFLAGS="${CXXFLAGS:-} -O2 -g0 -fno-sanitize=address"
target_dir=${CARGO_TARGET_DIR:-$root/fuzz/target}/fuzzing
cargo fuzz build --target-dir "$target_dir"
unset RUSTC_BOOTSTRAP CXXFLAGS

if [ $# -gt 0 ]; then
    targets=("$@")
else
    mapfile -t targets < <(cargo fuzz list)
fi
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run_target() {
    local name=$1 corpus=${KEEP:-$logs/corpus}/$1 max_len=$MAX_LEN leaks=1
    [ "$name" != key_file ] || max_len=$KEY_FILE_LEN
    # Scoped threads end a moment after their scope: what they hold until then looks lost at times.
    [ "$name" != stream ] || leaks=0
    mkdir -p "$corpus" "fuzz/artifacts/$name"
    "$target_dir/$host/release/$name" "$corpus" "fuzz/corpus/$name" -fork=0 \
        -max_total_time="$seconds" -timeout="$INPUT_SECONDS" -max_len="$max_len" \
        -detect_leaks="$leaks" \
        -artifact_prefix="fuzz/artifacts/$name/" -print_final_stats=1 \
        </dev/null >"$logs/$name" 2>&1
}

# Prints one line for a target that has ended; returns whether it passed.
summarise() {
    local name=$1 status=$2 log=$logs/$1 executions rate coverage
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 || true)
    if [ "$status" -eq 0 ] && [ "${executions:-0}" -gt 0 ]; then
        printf 'fuzz: %-8s %10s executions, %6s a second, %s\n' \
            "$name" "$executions" "$rate" "$coverage"
    else
        printf 'fuzz: %-8s FAILED with status %s\n' "$name" "$status" >&2
        tail -60 "$log" >&2
        return 1
    fi
}

failed=0
for ((first = 0; first < ${#targets[@]}; first += 2)); do
    pair=("${targets[@]:first:2}")
    pids=()
    for name in "${pair[@]}"; do
        [ -d "fuzz/corpus/$name" ] || { echo "fuzz: $name has no seeds" >&2; exit 1; }
        run_target "$name" &
        pids+=($!)
    done
    for index in "${!pair[@]}"; do
        status=0
        wait "${pids[index]}" || status=$?
        summarise "${pair[index]}" "$status" || failed=$((failed + 1))
    done
done
if [ "$failed" -ne 0 ]; then
    echo "fuzz: $failed of ${#targets[@]} targets failed; inputs are in fuzz/artifacts/" >&2
    exit 1
fi
echo "fuzz: ${#targets[@]} targets, $seconds seconds each, no crash"
