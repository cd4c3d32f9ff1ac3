#!/usr/bin/env bash
# NSS softokn, the token inside Firefox: `nss.sh DIR`, see lib.sh.
#
# The label is NSS's own and cannot be chosen; C_Initialize alone gets the directory of the token.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
module=$libdir/libsoftokn3.so
pin=12345678

begin "$@"
need_packages

mkdir "$dir/nss"
printf %s "$pin" >"$dir/pin"
certutil -N -d "sql:$dir/nss" -f "$dir/pin"

answer_token "$module" 'NSS Certificate DB' "$pin" '' \
    "configdir='sql:$dir/nss' certPrefix='' keyPrefix='' secmod='secmod.db'"
# NSS hashes the PIN ten thousand times for every key that it stores or reads, which is not under test.
answer NSS_MAX_MP_PBE_ITERATION_COUNT 1
