# What the set-up scripts of the tokens share; sourced, not run.
#
# Each script is called as `NAME.sh DIR`, with an empty directory of the caller's. It makes a fresh token
# under DIR, and prints nothing but lines `export NAME='value'`. All else goes to DIR/setup.log, whose end
# is shown if the set-up fails. `NAME.sh --stop DIR` ends what runs for that token; it may be called for
# tokens without daemons, twice, and after a failure. Packages are installed by ../setup.sh.
#
# A caller must not lose the status of a set-up: variables=$(NAME.sh DIR) first, then eval.
# shellcheck shell=bash
set -euo pipefail
exec </dev/null
umask 077
# Tools are scripted by what they print and ask.
export LC_ALL=C

token=$(basename "$0" .sh)
# shellcheck disable=SC2034 # Used by the scripts, as the next two.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034
libdir=/usr/lib/$(uname -m)-linux-gnu
# shellcheck disable=SC2034
readonly so_pin=87654321

# Where answers and complaints go while everything else is logged.
exec 3>&1 4>&2

fail() {
    complaint="ci/tokens/$token.sh: $*"
    # Once there is a log, the complaint comes behind it.
    [ "${log:-/dev/null}" != /dev/null ] || echo "$complaint" >&4
    exit 1
}

# begin DIR: from here on all output is logged, and a failure shows the log. `begin --stop DIR`
# calls `stop`, where the script has it, and is the end.
begin() {
    if [ "${1:-}" = --stop ]; then
        dir=$(realpath -m "${2:?give the directory of the token to stop}")
        log=/dev/null
        exec >/dev/null 2>&1
        [ "$(type -t stop)" != function ] || stop
        exit 0
    fi
    [ -d "${1:-}" ] || fail 'give an empty directory to set the token up in'
    dir=$(cd "$1" && pwd)
    # It lands in configuration files of five syntaxes, none of which can quote.
    [[ $dir =~ ^[A-Za-z0-9/._-]+$ ]] || fail "$dir: a path of letters, digits and /._- is needed"
    [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    log=$dir/setup.log
    exec >>"$log" 2>&1
    trap '[ $? -eq 0 ] || abandon' EXIT
    set -x
}

abandon() {
    set +x
    tail -n 40 "$log" >&4
    echo "${complaint:-ci/tokens/$token.sh: the last command above failed}" >&4
    [ "$(type -t stop)" != function ] || stop || true
}

# daemon COMMAND...: runs it behind our back, in a process group of its own that can be killed as a
# whole. It must hold none of our outputs: who waits for the end of them would wait for its end.
daemon() {
    setsid "$@" </dev/null >>"$log" 2>&1 3>&- 4>&- &
    echo $! >"$dir/$(basename "$1").pid"
}

# runs PID NAME: whether the process is that one: a number may have been given to another since. One
# that is dead and only not yet collected has no command line.
runs() { grep -qsF "$2" "/proc/$1/cmdline"; }

# end_daemon NAME [SIGNAL]: ends what `daemon` started under that name, if it still runs.
end_daemon() {
    local file=$dir/$1.pid signal=${2:-TERM} pid
    [ -s "$file" ] || return 0
    pid=$(<"$file")
    rm -f "$file"
    runs "$pid" "$1" || return 0
    kill "-$signal" -- "-$pid" || return 0
    for _ in $(seq 100); do
        runs "$pid" "$1" || return 0
        sleep 0.05
    done
    kill -KILL -- "-$pid" || true
}

# wait_for WHAT COMMAND...: until the command succeeds, and for no more than two minutes, which are
# plenty on a busy machine.
wait_for() {
    local deadline=$((SECONDS + 120)) what=$1
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "$what does not start, see $log"
        sleep 0.05
    done
}

# need_packages: fails, and names them, if packages of this token are missing.
need_packages() {
    local missing
    missing=$(bash "$here/../setup.sh" --check "$token" 2>&1) || fail "$missing"
}

# answer NAME VALUE: one line for the caller to evaluate, unless there is no such value.
answer() {
    [ -n "$2" ] || return 0
    printf "export %s='%s'\n" "$1" "${2//\'/\'\\\'\'}" >&3
}

# answer_token MODULE LABEL PIN [SO_PIN [RESERVED]]: what a test needs to open any token.
answer_token() {
    answer ENVELOCK_TOKEN "$token"
    answer ENVELOCK_P11_MODULE "$1"
    answer ENVELOCK_P11_LABEL "$2"
    answer ENVELOCK_P11_PIN "$3"
    answer ENVELOCK_P11_SO_PIN "${4:-}"
    answer ENVELOCK_P11_RESERVED "${5:-}"
}
