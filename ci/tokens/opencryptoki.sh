#!/usr/bin/env bash
# opencryptoki's software token: `opencryptoki.sh DIR`, `opencryptoki.sh --stop DIR`, see lib.sh.
#
# One daemon serves the machine, and the directory of its tokens is built into the library. So our daemon is
# started with a configuration of its own, which has a few slots, each with a
# directory in /var/lib/opencryptoki. A token takes a free slot, whose directory becomes a link into
# DIR, and `--stop` gives it back; with the last one the daemon ends. A slot whose DIR is removed, or
# that was taken a day ago, is free: leftovers of a killed run need no cleaning by hand.
#
# Labels are `envelock-SLOT`. All tokens have the serial number 123. A process sees a token that was
# set up after its C_Initialize only once it has called C_Finalize and C_Initialize again.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
module=$libdir/pkcs11/libopencryptoki.so
conf=/etc/opencryptoki/opencryptoki.conf
data=/var/lib/opencryptoki
# Each application loads every slot, used or not: no more than a few runs side by side need.
readonly slots=6
# 4 to 8 characters, and 12345678 is refused: it is the PIN of tokens whose PIN was never set.
pin=11111111
new_so_pin=76543210

state=/run/envelock-opencryptoki

# The daemon that runs now, ours or not.
daemon_pid() {
    local pid
    pid=$(cat /run/pkcsslotd.pid 2>/dev/null) || return 1
    runs "$pid" pkcsslotd && echo "$pid"
}
daemon_is_ours() {
    local pid
    pid=$(daemon_pid) && [ "$pid" = "$(cat "$state/pid" 2>/dev/null)" ]
}
listens() { [ -S /run/pkcsslotd.socket ] && daemon_pid >/dev/null; }

# forget SLOT: nothing of a token is left, on disk or in shared memory.
forget() {
    rm -rf "$data/envelock-$1" "/dev/shm/var.lib.opencryptoki.envelock-$1" "$state/slot-$1"
}

# free SLOT: whether it has no token, or one that cannot be in use any more.
free() {
    local record=$state/slot-$1
    [ -f "$record" ] || return 0
    [ ! -d "$(<"$record")" ] || [ -n "$(find "$record" -mmin +1440)" ]
}

write_conf() {
    echo 'version opencryptoki-3.8'
    for n in $(seq 0 $((slots - 1))); do
        printf '\nslot %d\n{\nstdll = libpkcs11_sw.so\ntokname = envelock-%d\n}\n' "$n" "$n"
    done
}

start_daemon() {
    for n in $(seq 0 $((slots - 1))); do forget "$n"; done
    write_conf >"$state/opencryptoki.conf"
    # The sub-shell ends our hold of the lock and of the outputs before the daemon is there.
    if unshare --mount true; then
        unshare --mount sh -c "mount --bind $state/opencryptoki.conf $conf && exec pkcsslotd" \
            3>&- 4>&- 9>&-
    else
        # This container forbids mounts: ours replaces the file until the daemon has read it.
        cp -p "$conf" "$state/saved.conf"
        cat "$state/opencryptoki.conf" >"$conf"
        pkcsslotd 3>&- 4>&- 9>&- || true
        wait_for pkcsslotd listens
        cat "$state/saved.conf" >"$conf"
    fi
    wait_for pkcsslotd listens
    daemon_pid >"$state/pid"
}

stop() {
    [ -d "$state" ] || return 0
    exec 9>"$state.lock"
    flock 9
    local n used=0
    for n in $(seq 0 $((slots - 1))); do
        if free "$n" || [ "$(cat "$state/slot-$n")" = "$dir" ]; then
            forget "$n"
        else
            used=1
        fi
    done
    if [ $used -eq 0 ]; then
        if daemon_is_ours; then
            pid=$(daemon_pid)
            kill "$pid"
            wait_for 'the end of pkcsslotd' eval '! daemon_pid'
        fi
        rm -rf "$state"
    fi
    flock -u 9
}

begin "$@"
[ "$(id -u)" -eq 0 ] || fail 'must be run as root: its daemon and its directories are'
need_packages

exec 9>"$state.lock"
flock 9
mkdir -p "$state"
if ! daemon_is_ours; then
    ! daemon_pid || fail 'pkcsslotd serves tokens of others: systemctl stop pkcsslotd'
    start_daemon
fi
slot=
for n in $(seq 0 $((slots - 1))); do
    if free "$n"; then
        slot=$n
        break
    fi
done
[ -n "$slot" ] || fail "all $slots slots are in use, by the directories in $state/slot-*"
echo "$dir" >"$state/slot-$slot"

# The lock on tokens is one for all of them, and others of the group `pkcs11` may have to enter.
mkdir -p "$dir/token/TOK_OBJ"
chgrp -R pkcs11 "$dir/token"
chmod -R ug=rwX,o= "$dir/token"
rm -rf "$data/envelock-$slot" "/dev/shm/var.lib.opencryptoki.envelock-$slot"
ln -s "$dir/token" "$data/envelock-$slot"

label=envelock-$slot
printf '%s\n' "$so_pin" "$label" | pkcsconf -I -c "$slot"
# The security officer's first PIN is the same on every token, and is good for one thing only.
printf '%s\n' "$so_pin" "$new_so_pin" "$new_so_pin" | pkcsconf -P -c "$slot"
printf '%s\n' "$new_so_pin" "$pin" "$pin" | pkcsconf -u -c "$slot"
flock -u 9

answer_token "$module" "$label" "$pin" "$new_so_pin"
