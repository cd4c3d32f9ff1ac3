#!/usr/bin/env bash
# tpm2-pkcs11 on a TPM in software: `tpm2.sh DIR`, and `tpm2.sh --stop DIR`, see lib.sh.
#
# Such a token cannot generate keys by PKCS#11: its own tool makes two pairs, each a key for AES and
# one for HMAC, for the mode in which someone else provisions keys. ENVELOCK_P11_EXTERNAL lists
# their labels as `AES:HMAC AES:HMAC`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
module=$libdir/pkcs11/libtpm2_pkcs11.so
pin=12345678

stop() {
    # Those who use it before it.
    end_daemon tpm2-abrmd
    end_daemon dbus-daemon
    end_daemon swtpm
}

begin "$@"
need_packages

mkdir "$dir/state" "$dir/store"
# By sockets in the file system, so that any number of them stand side by side.
daemon swtpm socket --tpm2 --tpmstate "dir=$dir/state" --flags not-need-init,startup-clear \
    --server "type=unixio,path=$dir/tpm" --ctrl "type=unixio,path=$dir/tpm.ctrl"
wait_for swtpm test -S "$dir/tpm.ctrl"
daemon dbus-daemon --session --nofork --address="unix:path=$dir/bus"
wait_for dbus-daemon test -S "$dir/bus"
export DBUS_SESSION_BUS_ADDRESS=unix:path=$dir/bus
# Without a manager of its resources a TPM is full after a few calls.
daemon tpm2-abrmd --session --allow-root --tcti="swtpm:path=$dir/tpm"
export TPM2TOOLS_TCTI=tabrmd:bus_type=session
export TPM2_PKCS11_TCTI=$TPM2TOOLS_TCTI
export TPM2_PKCS11_STORE=$dir/store
wait_for tpm2-abrmd tpm2_getrandom --hex 8

ptool() { tpm2_ptool "$@" --path "$dir/store"; }
ptool init
ptool addtoken --pid=1 --label=envelock --sopin="$so_pin" --userpin="$pin"
external=
for n in 1 2; do
    # An id becomes CKA_ID in hexadecimal twice: labels distinguish the keys.
    ptool addkey --algorithm=aes256 --label=envelock --userpin="$pin" --key-label="aes-$n"
    ptool addkey --algorithm=hmac:sha256 --label=envelock --userpin="$pin" --key-label="hmac-$n"
    external+="${external:+ }aes-$n:hmac-$n"
done

answer_token "$module" envelock "$pin" "$so_pin"
answer ENVELOCK_P11_EXTERNAL "$external"
answer DBUS_SESSION_BUS_ADDRESS "$DBUS_SESSION_BUS_ADDRESS"
answer TPM2_PKCS11_TCTI "$TPM2_PKCS11_TCTI"
answer TPM2_PKCS11_STORE "$TPM2_PKCS11_STORE"
