#!/usr/bin/env bash
# SoftHSM2, the token most people test with: `softhsm.sh DIR [COUNT]`, see lib.sh.
#
# COUNT tokens (1) stand in one module: `envelock`, `envelock-2`, `envelock-3`...
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
module=/usr/lib/softhsm/libsofthsm2.so
pin=12345678

begin "$@"
need_packages

mkdir "$dir/tokens"
cat >"$dir/softhsm2.conf" <<EOF
directories.tokendir = $dir/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
EOF
export SOFTHSM2_CONF=$dir/softhsm2.conf
for n in $(seq "${2:-1}"); do
    label=envelock
    [ "$n" -eq 1 ] || label=envelock-$n
    softhsm2-util --init-token --free --label "$label" --so-pin "$so_pin" --pin "$pin"
done

answer_token "$module" envelock "$pin" "$so_pin"
answer SOFTHSM2_CONF "$SOFTHSM2_CONF"
