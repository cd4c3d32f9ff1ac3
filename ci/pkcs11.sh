#!/usr/bin/env bash
# The PKCS#11 keyring on four tokens that have nothing in common, each fresh:
#
#     ci/pkcs11.sh [TOKEN...] [-- COMMAND...]
#
# Packages come from ci/setup.sh. Without a command the conformance and fault tests run.
# shellcheck disable=SC2034 # Used by what is sourced.
tokens=(softhsm nss opencryptoki kryoptic)
source "$(dirname "${BASH_SOURCE[0]}")/tokens/each.sh"
