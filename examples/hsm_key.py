#!/usr/bin/env python3
"""Makes a key on a PKCS#11 token that `envelock::pkcs11::ExternalKeyring` accepts.

    apt-get install python3-pykcs11
    /usr/bin/python3 examples/hsm_key.py MODULE TOKEN_LABEL PIN_FILE KEY_LABEL

KEY_LABEL is an AES-256 key, for wrap algorithm 2. KEY_LABEL-mac is the second key that wrap
algorithm 3 needs. Both are sensitive and not extractable, and neither wraps nor unwraps other keys.
Keys of `pkcs11-tool --keygen` and `softhsm2-util --import` on SoftHSM do, and are refused.
"""

import os
import sys

import PyKCS11 as p11

if len(sys.argv) != 5:
    sys.exit(__doc__)
module, token, pin_file, label = sys.argv[1:]
library = p11.PyKCS11Lib()
library.load(module)
slots = library.getSlotList(tokenPresent=True)
names = {slot: library.getTokenInfo(slot).label.strip("\0 ") for slot in slots}
found = [slot for slot, name in names.items() if name == token]
if len(found) != 1:
    sys.exit(f"{len(found)} tokens have the label {token!r}; the labels are {sorted(names.values())}")
session = library.openSession(found[0], p11.CKF_SERIAL_SESSION | p11.CKF_RW_SESSION)
with open(pin_file, encoding="utf-8") as file:
    session.login(file.read().rstrip("\r\n"))


def make(key_label, key_type, mechanism, encrypts):
    if session.findObjects([(p11.CKA_CLASS, p11.CKO_SECRET_KEY), (p11.CKA_LABEL, key_label)]):
        sys.exit(f"a key {key_label!r} exists")
    # Every use is stated: some tokens allow those that are not.
    template = [
        (p11.CKA_CLASS, p11.CKO_SECRET_KEY),
        (p11.CKA_KEY_TYPE, key_type),
        (p11.CKA_VALUE_LEN, 32),
        (p11.CKA_LABEL, key_label),
        (p11.CKA_ID, os.urandom(16)),
        (p11.CKA_TOKEN, p11.CK_TRUE),
        (p11.CKA_PRIVATE, p11.CK_TRUE),
        (p11.CKA_SENSITIVE, p11.CK_TRUE),
        (p11.CKA_EXTRACTABLE, p11.CK_FALSE),
        (p11.CKA_ENCRYPT, p11.CK_TRUE if encrypts else p11.CK_FALSE),
        (p11.CKA_DECRYPT, p11.CK_TRUE if encrypts else p11.CK_FALSE),
        (p11.CKA_SIGN, p11.CK_FALSE if encrypts else p11.CK_TRUE),
        (p11.CKA_VERIFY, p11.CK_FALSE if encrypts else p11.CK_TRUE),
        (p11.CKA_WRAP, p11.CK_FALSE),
        (p11.CKA_UNWRAP, p11.CK_FALSE),
        (p11.CKA_DERIVE, p11.CK_FALSE),
    ]
    session.generateKey(template, p11.Mechanism(mechanism, None))
    print(f"made {key_label!r}")


make(label, p11.CKK_AES, p11.CKM_AES_KEY_GEN, True)
make(f"{label}-mac", p11.CKK_GENERIC_SECRET, p11.CKM_GENERIC_SECRET_KEY_GEN, False)
