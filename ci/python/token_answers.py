"""Known answers of wrap algorithms 2 and 3 by `cryptography`; run by ci/python.sh.

    token_answers.py examples SPEC.md  examples C and D of the specification, every value
    token_answers.py probe PROBE.rs    the known answers that a token is asked for
    token_answers.py print             both, to be written there
"""

import hashlib
import hmac
import pathlib
import re
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import decoder
import encoder
import check


def encrypt_cbc(key, iv, plaintext):
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(plaintext) + encryptor.finalize()


def cka_id(slot, role):
    """SPEC W-TOKEN"""
    named = slot.master_key_id + slot.version.to_bytes(4, "big") + slot.name
    return slot.master_key_id + hashlib.sha256(named).digest()[:8] + bytes([role])


def counting(first, length):
    return bytes(range(first, first + length))


def begin(values, version, data_key, r):
    """What both examples have in common, up to the slot without its wrapped key."""
    values |= {"key name": b"orders", "key version": version.to_bytes(4, "big")}
    values |= {"data key": counting(data_key, 32), "r": counting(r, 8)}


def bind(values, version, algorithm):
    data_key, r = values["data key"], values["r"]
    slot = decoder.Slot(values["key name"], version, values["master key id"], algorithm, b"")
    values["check"] = decoder.data_key_check(data_key, 1, r)
    values["core"] = encoder.core_of(1, r, data_key)
    values["wrap AAD"] = decoder.wrap_aad(values["core"], slot)
    return slot


def end(values, slot, mac_key=None):
    slot.wrapped_key = values["IV"] + values["ciphertext"] + values["tag"]
    assert len(slot.wrapped_key) == 32 + decoder.EXACT[slot.algorithm]
    opened = decoder.unwrap_token(slot, values["core"], values["AES key"], mac_key)
    assert opened == values["data key"]
    return values | {"wrapped key": slot.wrapped_key, "slot 0": slot.encode()}


def example_c():
    """Algorithm 2, under a key that was put on the token by other means."""
    values, version = {"AES key": counting(0x10, 32)}, 6
    begin(values, version, 0x40, 0x60)
    values["IV"] = counting(0xA0, 12)
    values["native id"] = b"orders-2026"
    # SPEC K-NATIVE
    values["master key id"] = hashlib.sha256(values["native id"]).digest()[:8]
    slot = bind(values, version, 2)
    aead = AESGCM(values["AES key"])
    sealed = aead.encrypt(values["IV"], values["data key"], values["wrap AAD"])
    values |= {"ciphertext": sealed[:-16], "tag": sealed[-16:]}
    return end(values, slot)


def example_d():
    """Algorithm 3, under keys that the keyring made."""
    values, version = {"AES key": counting(0x90, 32), "HMAC key": counting(0xB0, 32)}, 0x01020304
    begin(values, version, 0xC0, 0xE0)
    values["IV"] = counting(0x20, 16)
    values["master key id"] = counting(0xF0, 8)
    slot = bind(values, version, 3)
    values |= {"AES CKA_ID": cka_id(slot, 1), "HMAC CKA_ID": cka_id(slot, 2)}
    iv, aad = values["IV"], values["wrap AAD"]
    values["ciphertext"] = encrypt_cbc(values["AES key"], iv, values["data key"])
    values["MAC input"] = aad + iv + values["ciphertext"]
    values["tag"] = hmac.digest(values["HMAC key"], values["MAC input"], "sha256")
    return end(values, slot, values["HMAC key"])


EXAMPLES = {"example C": example_c, "example D": example_d}


def examples(path):
    written = dict(check.parse_examples(pathlib.Path(path).read_text()))
    for title, compute in EXAMPLES.items():
        # In their order, too.
        assert list(written[title].items()) == list(compute().items()), title
        (slot,) = decoder.parse_header(header_of(written[title])).slots
        keys = (written[title]["AES key"], written[title].get("HMAC key"))
        assert decoder.unwrap_token(slot, written[title]["core"], *keys) == written[title]["data key"], title
    print(f"examples: {sum(len(written[title]) for title in EXAMPLES)} values of tokens")


def header_of(values):
    slot = values["slot 0"]
    return values["core"] + (25 + len(slot)).to_bytes(2, "big") + b"\x01" + slot


def probe_answers():
    def drawn(name, length):
        return hashlib.sha512(b"envelock token known answer " + name).digest()[:length]

    key, plaintext, aad = drawn(b"key", 32), drawn(b"plaintext", 32), b"envelock known answer"
    gcm_iv, cbc_iv = drawn(b"iv12", 12), drawn(b"iv16", 16)
    return {
        "KEY": key,
        "GCM_IV": gcm_iv,
        "CBC_IV": cbc_iv,
        "AAD": aad,
        "PLAINTEXT": plaintext,
        "GCM": AESGCM(key).encrypt(gcm_iv, plaintext, aad),
        "CBC": encrypt_cbc(key, cbc_iv, plaintext),
        "HMAC": hmac.digest(key, plaintext, "sha256"),
    }


def probe(path):
    text = pathlib.Path(path).read_text()
    arrays = re.findall(r"^const ([A-Z_]+): \[u8; \d+\] =\s*\[([^\]]*)\];", text, re.M)
    found = {name: bytes.fromhex("".join(re.findall(r"0x(\w\w)", body))) for name, body in arrays}
    texts = re.findall(r'^const ([A-Z_]+): &\[u8\] = b"([^"]*)";', text, re.M)
    found |= {name: value.encode() for name, value in texts}
    assert found == probe_answers(), f"{path}: {found.keys()}"
    print(f"probe: {len(found)} values that a token is asked for")


def print_all():
    for title, compute in EXAMPLES.items():
        print(f"```text\n{title}")
        for name, value in compute().items():
            lines = [value.hex()[at : at + 64] for at in range(0, 2 * len(value), 64)]
            print(f"{name:<16} = " + ("\n" + " " * 19).join(lines))
        print("```\n")
    for name, value in probe_answers().items():
        print(name, value.hex())


COMMANDS = {"examples": examples, "probe": probe, "print": print_all}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
