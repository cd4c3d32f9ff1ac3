# Sourced: runs things two at a time. Many of them wait, for a token, a process or a disk, or are one
# long test.
# shellcheck shell=bash

# two_at_a_time FUNCTION ARGUMENT...: calls the function with each argument, two at a time and as a
# step on its own that ends at its first failure. What it prints is shown when it ends. At the end
# fails if one failed.
two_at_a_time() {
    local function=$1 argument dir failed=() index=0
    shift
    dir=$(mktemp -d)
    for argument; do
        while (($(jobs -rp | wc -l) >= 2)); do
            wait -n || true
        done
        index=$((index + 1))
        (
            trap 'flock "$dir/shown" cat "$dir/$index" >&3' EXIT
            exec 3>&1 >"$dir/$index" 2>&1
            "$function" "$argument"
            touch "$dir/$index.passed"
        ) &
    done
    wait
    index=0
    for argument; do
        index=$((index + 1))
        [ -e "$dir/$index.passed" ] || failed+=("$argument")
    done
    rm -rf "$dir"
    [ ${#failed[@]} -eq 0 ] || { echo "FAILED: ${failed[*]}" >&2; return 1; }
}
