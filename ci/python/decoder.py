"""An independent decoder of message format version 1, written from src/format/SPEC.md alone.

Rule ids in comments are that page's. Nothing here is fast or constant-time: it checks, it does
not protect.
"""

import hashlib
import hmac

from cryptography import cobblestone
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

MAGIC = bytes.fromhex("E54E564C")
CHUNK = 16384
TAG = 16
MIN_SLOT = 18
# Suite id: AEAD name, data key length (section 3.1).
SUITES = {
    1: (b"AEAD_AES_256_GCM", 32),
    2: (b"AEAD_AES_128_GCM", 16),
    3: (b"AEAD_CHACHA20_POLY1305", 32),
    4: (b"AEAD_AES_256_GCM", 32),
}
# Of the suites without a Cobblestone name, which have no body in `cryptography`: AEAD and hash.
PRIMITIVES = {3: (ChaCha20Poly1305, hashlib.sha512), 4: (AESGCM, hashlib.sha256)}
# Wrap algorithm: what the wrapped key has beyond the data key (H-WRAPLEN).
EXACT = {1: 40, 2: 28, 3: 48}
ALPHANUMERIC = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Refused(Exception):
    """The message does not open; `verdict` says why, in one word and what goes with it."""

    def __init__(self, verdict):
        super().__init__(verdict)
        self.verdict = verdict


class Slot:
    def __init__(self, name, version, master_key_id, algorithm, wrapped_key):
        self.name = name
        self.version = version
        self.master_key_id = master_key_id
        self.algorithm = algorithm
        self.wrapped_key = wrapped_key

    def line(self):
        """The slot as a manifest has it."""
        fields = (self.name.decode(), self.version, self.master_key_id.hex())
        return "%s %d %s %d %d" % (*fields, self.algorithm, len(self.wrapped_key))

    def encode(self):
        return b"".join(
            [
                self.version.to_bytes(4, "big"),
                self.master_key_id,
                bytes([self.algorithm, len(self.name)]),
                len(self.wrapped_key).to_bytes(2, "big"),
                self.name,
                self.wrapped_key,
            ]
        )


class TokenKey:
    """A version on a token: wrap algorithm 2, or 3 with a second key."""

    def __init__(self, master_key_id, algorithm, key, mac_key=None):
        self.master_key_id, self.algorithm = master_key_id, algorithm
        self.key, self.mac_key = key, mac_key


class Header:
    def __init__(self, core, length, slots, padding):
        self.core = core
        self.length = length
        self.slots = slots
        self.padding = padding
        self.suite = core[5]
        self.r = core[6:14]
        self.check = core[14:22]

    def encode(self):
        length = self.length.to_bytes(2, "big")
        slots = b"".join(slot.encode() for slot in self.slots)
        return self.core + length + bytes([len(self.slots)]) + slots + bytes(self.padding)


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, length):
        """The next field, or a truncation: nothing before its end has offended (H-FIRST)."""
        field = self.data[self.at : self.at + length]
        if len(field) < length:
            raise Refused("truncated")
        self.at += length
        return field


def offends(offset):
    return Refused("header:%d" % offset)


def parse_header(data):
    if not data or not MAGIC.startswith(data[:4]):
        raise Refused("magic")  # H-MAGIC
    reader = Reader(data)
    reader.take(4)
    if reader.take(1) != b"\x01":
        raise offends(4)  # H-FORMAT
    suite = reader.take(1)[0]
    if suite not in SUITES:
        raise offends(5)  # H-SUITE
    reader.take(16)
    length = int.from_bytes(reader.take(2), "big")
    if length < 25 + MIN_SLOT:
        raise offends(22)  # H-LEN
    count = reader.take(1)[0]
    if not 1 <= count <= 16 or 25 + count * MIN_SLOT > length:
        raise offends(24)  # H-COUNT
    slots = []
    for index in range(count):
        # H-BOUND, H-FIRST: where this slot must end, so that those after it still fit.
        end = length - MIN_SLOT * (count - index - 1)
        slots.append(parse_slot(reader, end, suite, slots))
    padding = length - reader.at
    for offset, byte in enumerate(data[reader.at : length], reader.at):
        if byte != 0:
            raise offends(offset)  # H-PAD
    reader.take(padding)
    header = Header(data[:22], length, slots, padding)
    assert header.encode() == data[:length]  # H-CANON
    return header


def parse_slot(reader, end, suite, earlier):
    start = reader.at
    version = int.from_bytes(reader.take(4), "big")
    if version == 0:
        raise offends(start)  # H-VERSION
    master_key_id = reader.take(8)
    algorithm = reader.take(1)[0]
    exact = SUITES[suite][1] + EXACT[algorithm] if algorithm in EXACT else None
    least = exact or 1
    if algorithm == 0 or start + 16 + 1 + least > end:
        raise offends(start + 12)  # H-ALG
    name_length = reader.take(1)[0]
    if name_length == 0 or start + 16 + name_length + least > end:
        raise offends(start + 13)  # H-NAME
    wrapped_length = int.from_bytes(reader.take(2), "big")
    in_range = 1 <= wrapped_length <= 32768 and exact in (None, wrapped_length)
    if not in_range or start + 16 + name_length + wrapped_length > end:
        raise offends(start + 14)  # H-WRAPLEN
    for offset, byte in enumerate(reader.data[reader.at : reader.at + name_length]):
        if byte not in ALPHANUMERIC and (offset == 0 or byte not in b"._:/@+=-"):
            raise offends(reader.at + offset)  # H-NAME
    name = reader.take(name_length)
    for other in earlier:
        same = (other.name, other.version, other.master_key_id)
        if same == (name, version, master_key_id):
            raise offends(start + 16)  # H-DUPLICATE
    return Slot(name, version, master_key_id, algorithm, reader.take(wrapped_length))


def hkdf_expand(key, info, length, digest):
    """RFC 5869, section 2.3, with a key that may be shorter than the hash."""
    okm, block, counter = b"", b"", 1
    while len(okm) < length:
        block = hmac.new(key, block + info + bytes([counter]), digest).digest()
        okm += block
        counter += 1
    return okm[:length]


def master_key_id(master_key):  # K-MASTER
    return hkdf_expand(master_key, b"envelock master key id v1", 8, hashlib.sha256)


def data_key_check(data_key, suite, r):  # K-CHECK
    info = b"envelock data key id v1" + bytes([1, suite]) + r
    return hkdf_expand(data_key, info, 8, hashlib.sha256)


def wrap_aad(core, slot):  # K-AAD
    fields = [b"envelock wrap v1", core, bytes([slot.algorithm]), slot.version.to_bytes(4, "big")]
    return b"".join(fields + [slot.master_key_id, bytes([len(slot.name)]), slot.name])


def xaes_key(key, nonce):
    """The AES-256-GCM key of XAES-256-GCM: AES-CMAC over two blocks that hold half the nonce."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    left = int.from_bytes(aes.update(bytes(16)), "big") << 1
    k1 = left ^ (1 << 128 | 0x87) if left >> 128 else left
    blocks = b""
    for counter in (1, 2):
        message = int.from_bytes(bytes([0, counter]) + b"X\x00" + nonce[:12], "big")
        blocks += aes.update((message ^ k1).to_bytes(16, "big"))
    return blocks


def xaes_open(key, nonce, sealed, aad):
    return AESGCM(xaes_key(key, nonce)).decrypt(nonce[12:], sealed, aad)


def hash_of(suite):
    return PRIMITIVES.get(suite, (None, hashlib.sha512))[1]


def aead_of(suite):
    return PRIMITIVES.get(suite, (AESGCM, None))[0]


def unwrap_token(slot, core, key, mac_key):
    """The data key of a slot of algorithm 2 or 3; `InvalidTag` if it is not authentic."""
    blob, aad = slot.wrapped_key, wrap_aad(core, slot)
    if slot.algorithm == 2:  # W-GCM
        return AESGCM(key).decrypt(blob[:12], blob[12:], aad)
    iv, ciphertext, tag = blob[:16], blob[16:-32], blob[-32:]  # W-CBC
    if not hmac.compare_digest(hmac.digest(mac_key, aad + iv + ciphertext, "sha256"), tag):
        raise InvalidTag
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def derive(data_key, suite, salt, context):  # B-KDF
    name, key_length = SUITES[suite]
    info = b"c2sp.org/chunked-encryption@v1+" + name + b"\x00" + salt + context
    derived = hkdf_expand(data_key, info, key_length + 12 + 32, hash_of(suite))
    return derived[:key_length], derived[key_length:-32], derived[-32:]


def chunk_nonce(base_nonce, index):  # B-NONCE
    return (int.from_bytes(base_nonce, "big") ^ index).to_bytes(12, "big")


def check_body_length(body):
    if len(body) < 72 or (len(body) - 56) % (CHUNK + TAG) < TAG:
        raise Refused("truncated")  # B-LENGTH


def open_body(data_key, suite, context, body):
    check_body_length(body)
    salt, commitment = body[:24], body[24:56]
    key, base_nonce, expected = derive(data_key, suite, salt, context)
    if commitment != expected:
        raise Refused("authentication")  # B-COMMIT
    if suite in PRIMITIVES:
        return open_chunks(aead_of(suite)(key), base_nonce, body[56:])
    decryptors = {1: cobblestone.Cobblestone256Decryptor, 2: cobblestone.Cobblestone128Decryptor}
    decryptor = decryptors[suite](data_key, context)
    try:
        return decryptor.update(body) + decryptor.finalize()
    except InvalidTag as error:
        raise Refused("authentication") from error


def open_chunks(aead, base_nonce, sealed):
    plaintext = b""
    # B-LAST: `check_body_length` has made sure that the last piece is a short chunk.
    for index, at in enumerate(range(0, len(sealed), CHUNK + TAG)):
        chunk = sealed[at : at + CHUNK + TAG]
        try:
            plaintext += aead.decrypt(chunk_nonce(base_nonce, index), chunk, None)  # B-NOAAD
        except InvalidTag as error:
            raise Refused("authentication") from error
    return plaintext


def algorithm_of(key):
    return key.algorithm if isinstance(key, TokenKey) else 1


def id_of(key):
    return key.master_key_id if isinstance(key, TokenKey) else master_key_id(key)


def unwrap(header, slot, keys):
    """Returns the data key, or the reason why the slot does not open."""
    versions = keys.get(slot.name, {})
    if slot.algorithm not in [algorithm_of(key) for key in versions.values()]:
        return None, "no-key"  # O-MINE
    if slot.version not in versions:
        return None, "refused:%s:%d" % (slot.name.decode(), slot.version)  # O-NOFALLBACK
    key = versions[slot.version]
    if algorithm_of(key) != slot.algorithm or id_of(key) != slot.master_key_id:
        return None, "no-key"  # W-ONE, K-MASTER
    try:
        if slot.algorithm == 1:
            nonce, sealed = slot.wrapped_key[:24], slot.wrapped_key[24:]
            data_key = xaes_open(key, nonce, sealed, wrap_aad(header.core, slot))  # W-XAES
        else:
            data_key = unwrap_token(slot, header.core, key.key, key.mac_key)
    except InvalidTag:
        return None, "authentication"
    if data_key_check(data_key, header.suite, header.r) != header.check:
        return None, "authentication"  # K-CHECK
    return data_key, None


def find_data_key(header, keys):
    failures = []
    for slot in header.slots:  # O-ORDER
        data_key, failure = unwrap(header, slot, keys)
        if failure is None:
            return data_key
        failures.append(failure)
    for kind in ("refused", "authentication"):  # O-PRECEDENCE
        for failure in failures:
            if failure.startswith(kind):
                raise Refused(failure)
    raise Refused("no-key")


def open_message(message, keys, aad):
    """The plaintext of a message; `keys` is name to version to master key or `TokenKey`."""
    header = parse_header(message)
    body = message[header.length :]
    check_body_length(body)
    data_key = find_data_key(header, keys)
    return open_body(data_key, header.suite, header.core + aad, body)  # B-CONTEXT, O-FINAL


def verdict(message, keys, aad):
    """What becomes of a message, in one word: `accept` with a digest, or why not."""
    try:
        plaintext = open_message(message, keys, aad)
    except Refused as refused:
        return refused.verdict
    return "accept:" + hashlib.sha256(plaintext).hexdigest()
