"""An independent reader of key files of version 1, written from FORMAT.md alone.

    keyfile.py DIRECTORY

reads the golden key files there under the secrets of the tests, opens all key material, and
compares what it finds with listing.txt and token.txt. Rule ids in comments are those of FORMAT.md.
"""

import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

import decoder

PREFIX, MIDDLE, SUFFIX = b'{"record":', b',"mac":"', b'"}'
TOKEN_ALGORITHMS = ("token AES-256-GCM", "token AES-256-CBC HMAC-SHA-256")
SECRETS = {
    "passphrase": b"correct horse",
    "keyring": {b"outer": {3: bytes([9]) * 32}},
    "raw-key": bytes([7]) * 32,
    "unprotected": None,
}


def expand(key, info, length):
    return decoder.hkdf_expand(key, info, length, hashlib.sha256)


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def strip(line):  # F-LINE
    assert line.startswith(PREFIX) and line.endswith(SUFFIX), line
    record, digits = line[len(PREFIX) : -66], line[-66:-2]
    assert record.endswith(MIDDLE) and digits == digits.lower()
    return record[: -len(MIDDLE)], bytes.fromhex(digits.decode())


def open_sealed(key, sealed, aad):
    return decoder.xaes_open(key, sealed[:24], sealed[24:], aad)


def key_encryption_key(protection, secret):
    if protection["kind"] == "raw key":
        return secret
    cost = protection["argon2id"]
    salt = bytes.fromhex(cost["salt"])
    memory, passes, lanes = cost["memory_kib"], cost["passes"], cost["lanes"]
    assert memory <= 1 << 20 and passes <= 64 and lanes <= 16 and memory * passes <= 1 << 22
    stretch = Argon2id(
        salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory
    )
    return stretch.derive(secret)


def file_key(protection, file_id, secret):  # F-PROTECT
    kind, aad = protection["kind"], b"envelock key file key v1" + file_id
    if kind == "unprotected plaintext":
        return bytes.fromhex(protection["file_key"])
    if kind == "keyring":
        return decoder.open_message(bytes.fromhex(protection["message"]), secret, aad)
    kek = key_encryption_key(protection, secret)
    derived = expand(kek, b"envelock key file wrap v1 " + kind.encode(), 64)
    assert derived[32:].hex() == protection["commitment"]  # F-COMMIT
    return open_sealed(derived[:32], bytes.fromhex(protection["sealed"]), aad)


def material(record, seal_key, file_id):  # F-SEAL
    name, key_id = record["key"].encode(), bytes.fromhex(record["id"])
    aad = b"envelock key file master key v1" + file_id + bytes([len(name)]) + name
    aad += record["version"].to_bytes(4, "big") + key_id
    opened = open_sealed(seal_key, bytes.fromhex(record["sealed"]), aad)
    assert decoder.master_key_id(opened) == key_id  # F-ID
    return opened


def read(data, secret):
    """What listing.txt has of a file, and how many keys were opened."""
    assert data.endswith(b"\n")  # F-END
    lines = [strip(line) for line in data[:-1].split(b"\n")]
    header = json.loads(lines[0][0])
    assert (header["kind"], header["format"], header["version"]) == ("header", "envelock key file", 1)
    file_id = bytes.fromhex(header["id"])
    key = file_key(header["protection"], file_id, secret)
    mac_key = expand(key, b"envelock key file mac v1", 32)
    seal_key = expand(key, b"envelock key file seal v1", 32)
    for record, found in lines:  # F-MAC
        assert mac(mac_key, b"envelock key file record v1" + file_id + record) == found
    end = json.loads(lines[-1][0])
    macs = b"".join(found for _, found in lines[:-1])
    whole = mac(mac_key, b"envelock key file whole v1" + file_id + macs)
    assert (end["kind"], end["lines"], end["whole"]) == ("end", len(lines), whole.hex())  # F-WHOLE
    assert b'"header":' + lines[0][0] + b"}" in lines[-1][0]  # F-COPY
    listing, opened = [], set()
    for text, _ in lines[1:-1]:
        record = json.loads(text)
        if record["kind"] == "key":
            listing.append(f"{record['name']} taken {record['taken']}")
        elif record["kind"] == "version":
            words = (record["key"], record["version"], record["id"], record["state"])
            listing.append("%s %d %s %s" % words)
            on_token = record["algorithm"] in TOKEN_ALGORITHMS
            assert on_token or record["algorithm"] == "XAES-256-GCM"  # F-NAMES
            assert on_token == (record["origin"] == "token")  # F-TOKEN
            has_sealed = record["state"] != "destroyed" and not on_token
            assert ("sealed" in record) == has_sealed  # F-DESTROYED, F-TOKEN
            if has_sealed:
                opened.add(material(record, seal_key, file_id))
        elif record["kind"] == "alias":
            listing.append(f"{record['name']} -> {record['key']}")
    return listing, len(opened)


def main(directory):
    directory, found, count = pathlib.Path(directory), [], 0
    for name, secret in SECRETS.items():
        listing, opened = read((directory / f"{name}.keys").read_bytes(), secret)
        found += [f"# {name}", *listing]
        count += opened
    expected = (directory / "listing.txt").read_text().splitlines()
    assert found == expected, "not what listing.txt says"
    listing, opened = read((directory / "token.keys").read_bytes(), SECRETS["raw-key"])
    assert listing == (directory / "token.txt").read_text().splitlines(), "not what token.txt says"
    print(f"keyfile: {len(SECRETS) + 1} key files, {count + opened} master keys opened")


if __name__ == "__main__":
    main(sys.argv[1])
