#!/usr/bin/env bash
# part.sh NAME: runs ci/NAME.sh, and shows what it prints when it has ended, so that two can run side by
# side; at once with ENVELOCK_LIVE. Its time and outcome become a file of $ENVELOCK_OUTCOMES, where there is one.
set -uo pipefail
name=$1
ci=$(dirname "${BASH_SOURCE[0]}")
log=$(mktemp) times=$(mktemp)
trap 'rm -f "$log" "$times"' EXIT
started=$SECONDS status=0 outcome=passed

report() {
    local clock=$((SECONDS - started)) processors
    # Not in a subshell, whose own counts begin at zero. The second line is that of ended children: user, system.
    times >"$times"
    processors=$(awk -F '[ms ]+' 'NR == 2 { printf "%d", ($1 + $3) * 60 + $2 + $4 }' "$times")
    printf -- '-- %s: %s in %d s, %d s of processors\n' "$name" $outcome $clock "$processors"
    [ -z "${ENVELOCK_OUTCOMES:-}" ] ||
        printf '%6d s %6d s  %-6s  %s\n' $clock "$processors" $outcome "$name" >"$ENVELOCK_OUTCOMES/$(date +%s%N)"
}

if [ -n "${ENVELOCK_LIVE:-}" ]; then
    env -u ENVELOCK_LIVE bash "$ci/$name.sh" || status=$? outcome=FAILED
    report
else
    bash "$ci/$name.sh" >"$log" 2>&1 || status=$? outcome=FAILED
    {
        flock 9
        printf '\n== %s\n' "$name"
        cat "$log"
        report
    } 9<"${BASH_SOURCE[0]}"
fi
exit $status
