#!/usr/bin/env bash
# part.sh NAME: runs ci/NAME.sh, and shows what it prints when it has ended, so that two can run side by
# side; at once with ENVELOCK_LIVE. Its time and outcome become a file of $ENVELOCK_OUTCOMES, where there is one.
set -uo pipefail
name=$1
ci=$(dirname "${BASH_SOURCE[0]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS status=0 outcome=passed

report() {
    printf -- '-- %s: %s in %d s\n' "$name" $outcome $((SECONDS - started))
    [ -z "${ENVELOCK_OUTCOMES:-}" ] ||
        printf '%6d s  %-6s  %s\n' $((SECONDS - started)) $outcome "$name" >"$ENVELOCK_OUTCOMES/$(date +%s%N)"
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
