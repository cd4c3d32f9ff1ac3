"""Makes messages of format version 1, right ones and wrong ones, from src/format/SPEC.md alone."""

from cryptography import cobblestone
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import decoder
from decoder import CHUNK, MAGIC, SUITES, Header, Slot


def core_of(suite, r, data_key):
    return MAGIC + bytes([1, suite]) + r + decoder.data_key_check(data_key, suite, r)


def wrap(core, name, version, master_key, data_key, nonce, aad=None):
    """A slot of algorithm 1; `aad` replaces the wrap AAD, to make a wrong one."""
    slot = Slot(name, version, decoder.master_key_id(master_key), 1, b"")
    key = decoder.xaes_key(master_key, nonce)
    aad = decoder.wrap_aad(core, slot) if aad is None else aad
    slot.wrapped_key = nonce + AESGCM(key).encrypt(nonce[12:], data_key, aad)
    return slot


def header_of(core, slots, padding=0):
    length = 25 + sum(len(slot.encode()) for slot in slots) + padding
    return Header(core, length, slots, padding).encode()


def chunked(suite, data_key, salt, context, chunks, nonce_of=decoder.chunk_nonce, aad=None):
    """A body of these chunks by primitives, whatever their lengths."""
    key, base_nonce, commitment = decoder.derive(data_key, suite, salt, context)
    aead = decoder.aead_of(suite)(key)
    sealed = [aead.encrypt(nonce_of(base_nonce, index), chunk, aad) for index, chunk in chunks]
    return salt + commitment + b"".join(sealed)


def pieces(plaintext):
    """The chunks that a plaintext has: all full but the last, which may be empty."""
    starts = range(0, len(plaintext) + 1, CHUNK)
    return [(index, plaintext[at : at + CHUNK]) for index, at in enumerate(starts)]


def body_of(suite, data_key, salt, context, plaintext):
    """A body: of suites 1 and 2 by `cryptography`, which draws the salt itself."""
    if suite in decoder.PRIMITIVES:
        return chunked(suite, data_key, salt, context, pieces(plaintext))
    encryptors = {1: cobblestone.Cobblestone256Encryptor, 2: cobblestone.Cobblestone128Encryptor}
    encryptor = encryptors[suite](data_key, context)
    return encryptor.update(plaintext) + encryptor.finalize()


class Writer:
    """One message in the making: keys and nonces from `rng`, a `random.Random`."""

    def __init__(self, rng, suite, plaintext, aad, name=b"orders", version=1):
        self.rng, self.suite, self.plaintext, self.aad = rng, suite, plaintext, aad
        self.name, self.version = name, version
        self.master_key = rng.randbytes(32)
        self.data_key = rng.randbytes(SUITES[suite][1])
        self.salt = rng.randbytes(24)
        self.core = core_of(suite, rng.randbytes(8), self.data_key)
        self.context = self.core + aad

    def slot(self, data_key=None, aad=None):
        data_key = self.data_key if data_key is None else data_key
        nonce = self.rng.randbytes(24)
        return wrap(self.core, self.name, self.version, self.master_key, data_key, nonce, aad)

    def body(self, data_key=None):
        data_key = self.data_key if data_key is None else data_key
        return body_of(self.suite, data_key, self.salt, self.context, self.plaintext)

    def header(self, slots=None, padding=0):
        return header_of(self.core, [self.slot()] if slots is None else slots, padding)

    def keys(self):
        return {self.name: {self.version: self.master_key}}
