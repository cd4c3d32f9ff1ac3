#!/usr/bin/env bash
# A p11-kit server before a SoftHSM2 token, which stands for an HSM on the network that can die:
# `p11_kit.sh DIR`, and `p11_kit.sh --stop DIR`, see lib.sh.
#
# The commands in ENVELOCK_P11_KILL and ENVELOCK_P11_RESTART kill the server with all its
# connections, and start it again with the same token: for `sh -c`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
server=/usr/libexec/p11-kit/p11-kit-server
module=$libdir/pkcs11/p11-kit-client.so
softhsm=/usr/lib/softhsm/libsofthsm2.so

# Connections are processes of their own, in the group of the server.
stop() { end_daemon p11-kit-server "${1:-TERM}"; }

start() {
    # Inherited by the server alone: clients know nothing but the socket.
    export SOFTHSM2_CONF=$dir/softhsm/softhsm2.conf
    rm -f "$dir/p11.sock"
    daemon "$server" --foreground --name "$dir/p11.sock" --provider "$softhsm" pkcs11:
    wait_for 'p11-kit server' test -S "$dir/p11.sock"
}

case ${1:-} in
--kill | --restart)
    dir=$(realpath -e "${2:?give the directory of the token}")
    log=$dir/setup.log
    exec >>"$log" 2>&1
    stop KILL
    [ "$1" = --kill ] || start
    exit 0
    ;;
esac

begin "$@"
need_packages
mkdir "$dir/softhsm"
answers=$(bash "$here/softhsm.sh" "$dir/softhsm")
eval "$answers"
start

answer_token "$module" "$ENVELOCK_P11_LABEL" "$ENVELOCK_P11_PIN" "$ENVELOCK_P11_SO_PIN"
answer P11_KIT_SERVER_ADDRESS "unix:path=$dir/p11.sock"
answer ENVELOCK_P11_KILL "bash $here/p11_kit.sh --kill $dir"
answer ENVELOCK_P11_RESTART "bash $here/p11_kit.sh --restart $dir"
