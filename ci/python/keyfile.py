"""An independent reader of key files of versions 1 and 2, written from FORMAT.md alone.

    keyfile.py DIRECTORY ...

reads the golden key files of each directory under the secrets of secrets.txt, opens all key material,
and compares what it finds with listing.txt, token.txt and several.txt. Rule ids in comments are those of FORMAT.md.
"""

import hashlib
import hmac
import json
import pathlib
import re
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

import decoder

PREFIX, MIDDLE, SUFFIX = b'{"record":', b',"mac":"', b'"}'
TOKEN_ALGORITHMS = ("token AES-256-GCM", "token AES-256-CBC HMAC-SHA-256")
# As secrets.txt has them, and as a protection object does.
KINDS = {
    "passphrase": "passphrase",
    "keyring": "keyring",
    "raw-key": "raw key",
    "unprotected": "unprotected plaintext",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,63}")


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


def protections(header):  # F-PROTECTIONS
    if header["version"] == 1:
        return [header["protection"]]
    found = header["protections"]
    assert 1 <= len(found) <= 8 and len({it["id"] for it in found}) == len(found)
    assert all(re.fullmatch("[0-9a-f]{16}", it["id"]) for it in found)
    assert all(NAME.fullmatch(it.get("name", "x")) for it in found)
    kinds = [it["kind"] for it in found]
    assert kinds.count("passphrase") <= 4 and set(kinds) <= set(KINDS.values())
    assert len(found) == 1 or "unprotected plaintext" not in kinds
    return found


def cost(protection):  # F-COST
    return protection["argon2id"]["memory_kib"] * protection["argon2id"]["passes"]


def any_file_key(header, file_id, kind, secret):  # F-OPEN
    fitting = [it for it in protections(header) if it["kind"] == kind]
    assert kind != "passphrase" or sum(map(cost, fitting)) <= 1 << 22
    for protection in fitting:
        try:
            return file_key(protection, file_id, secret)
        except (AssertionError, InvalidTag):
            continue
    raise AssertionError(f"no protection of kind {kind} opens")


def check_reserved(record):  # F-HOLD, F-RESERVED
    if "hold" in record:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["hold"]["since"])
        assert len(record["hold"]["reason"].encode()) <= 256
    if "evidence" in record:
        assert record["evidence"] is True or len(bytes.fromhex(record["evidence"])) == 32
    if "audit" in record:
        assert record["audit"]["size"] >= 0 and len(bytes.fromhex(record["audit"]["root"])) == 32


def material(record, seal_key, file_id):  # F-SEAL
    name, key_id = record["key"].encode(), bytes.fromhex(record["id"])
    aad = b"envelock key file master key v1" + file_id + bytes([len(name)]) + name
    aad += record["version"].to_bytes(4, "big") + key_id
    opened = open_sealed(seal_key, bytes.fromhex(record["sealed"]), aad)
    assert decoder.master_key_id(opened) == key_id  # F-ID
    return opened


def read(data, kind, secret):
    """What listing.txt has of a file, and how many keys were opened."""
    assert data.endswith(b"\n")  # F-END
    lines = [strip(line) for line in data[:-1].split(b"\n")]
    header = json.loads(lines[0][0])
    assert (header["kind"], header["format"]) == ("header", "envelock key file")
    version = header["version"]
    assert version in (1, 2)  # F-FORMAT
    change = header["changed_at" if version == 1 else "change"]
    assert change <= header["revision"]
    file_id = bytes.fromhex(header["id"])
    key = any_file_key(header, file_id, kind, secret)
    check_reserved(header)
    mac_key = expand(key, b"envelock key file mac v1", 32)
    seal_key = expand(key, b"envelock key file seal v1", 32)
    for record, found in lines:  # F-MAC
        assert mac(mac_key, b"envelock key file record v1" + file_id + record) == found
    end = json.loads(lines[-1][0])
    macs = b"".join(found for _, found in lines[:-1])
    whole = mac(mac_key, b"envelock key file whole v1" + file_id + macs)
    assert (end["kind"], end["lines"], end["whole"]) == ("end", len(lines), whole.hex())  # F-WHOLE
    assert b'"header":' + lines[0][0] + b"}" in lines[-1][0]  # F-COPY
    listing, opened, ids = [], set(), []
    for text, _ in lines[1:-1]:
        record = json.loads(text)
        check_reserved(record)
        if version == 2:  # F-CHANGE
            assert 0 <= record["changed"] <= change
        if record["kind"] == "key":
            floor = record.get("floor", 0)  # F-FLOOR
            assert floor <= record["taken"] + 1
            removed = bytes.fromhex(record.get("removed", ""))
            assert len(removed) % 8 == 0 and len(removed) <= 8 * 2048
            ids += [removed[place : place + 8] for place in range(0, len(removed), 8)]
            erased = "erased" in record
            listing.append(f"{record['name']} taken {record['taken']}")
        elif record["kind"] == "version":
            words = (record["key"], record["version"], record["id"], record["state"])
            listing.append("%s %d %s %s" % words)
            assert floor <= record["version"] <= 0xFFFFFFFF
            on_token = record["algorithm"] in TOKEN_ALGORITHMS
            assert on_token or record["algorithm"] == "XAES-256-GCM"  # F-NAMES
            assert on_token == (record["origin"] == "token")  # F-TOKEN
            ids.append(bytes.fromhex(record["id"]))
            assert not erased or record["state"] == "destroyed"  # F-ERASED
            usable = record["state"] in ("pending", "primary", "enabled")
            assert not ("compromised" in record and usable)  # F-COMPROMISED
            has_sealed = record["state"] != "destroyed" and not on_token
            assert ("sealed" in record) == has_sealed  # F-DESTROYED, F-TOKEN
            if has_sealed:
                opened.add(material(record, seal_key, file_id))
        elif record["kind"] == "alias":
            former = record.get("former", [])  # F-FORMER
            assert len(set(former)) == len(former) <= 256 and record["key"] not in former
            assert all(NAME.fullmatch(name) for name in former)
            listing.append(f"{record['name']} -> {record['key']}")
    assert len(set(ids)) == len(ids)  # F-ORDER, F-FLOOR
    return listing, len(opened)


def secrets(path):
    """File, kind and secret of each line of secrets.txt."""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        file, kind, *secret = line.split(" ")
        if kind == "keyring":
            name, version, key = secret
            secret = {name.encode(): {int(version): bytes.fromhex(key)}}
        else:
            secret = bytes.fromhex(secret[0]) if secret else None
        yield file, kind, secret


def expected_listing(directory, name):
    own = directory / f"{name}.txt"
    if own.exists():
        return own.read_text().splitlines()
    sections = (directory / "listing.txt").read_text().split("# ")
    (section,) = [it for it in sections if it.startswith(f"{name}\n")]
    return section.splitlines()[1:]


def main(directory):
    directory, count = pathlib.Path(directory), 0
    files = {path.name for path in directory.glob("*.keys")}
    opened_files = set()
    for file, kind, secret in secrets(directory.parent / "secrets.txt"):
        if file not in files:
            continue
        listing, opened = read((directory / file).read_bytes(), KINDS[kind], secret)
        expected = expected_listing(directory, file.removesuffix(".keys"))
        assert listing == expected, f"{file}: not what is listed"
        opened_files.add(file)
        count += opened
    assert opened_files == files, f"no secret for {files - opened_files}"
    print(f"keyfile: {directory.name}: {len(files)} key files, {count} master keys opened")


if __name__ == "__main__":
    for path in sys.argv[1:]:
        main(path)
