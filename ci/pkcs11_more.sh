#!/usr/bin/env bash
# The PKCS#11 keyring on what is too slow, or installs too much, for every run: not called by
# tests/run.sh or .ci/run, to be run by hand after a change of the keyring.
#
#     ci/pkcs11_more.sh [TOKEN...] [-- COMMAND...]
#
# tpm2 is a TPM in software, whose keys were made by its own tool; p11_kit is a server before a
# SoftHSM2 token that the tests kill and start again. Packages: ci/setup.sh tpm2 p11_kit.
# shellcheck disable=SC2034 # Used by what is sourced.
tokens=(tpm2 p11_kit)
filter=(other_tokens::)
source "$(dirname "${BASH_SOURCE[0]}")/tokens/each.sh"
