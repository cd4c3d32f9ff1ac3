"""Messages made with all the keys by breaking one rule of the specification."""

import hashlib

import decoder
import encoder
from decoder import SUITES


def sum_nonce(base_nonce, index):
    return ((int.from_bytes(base_nonce, "big") + index) % (1 << 96)).to_bytes(12, "big")


def little_endian_nonce(base_nonce, index):
    return bytes(a ^ b for a, b in zip(base_nonce, index.to_bytes(12, "little")))


def front_nonce(base_nonce, index):
    return bytes(a ^ b for a, b in zip(base_nonce, index.to_bytes(8, "big") + bytes(4)))


def wrong_bodies(writer, rng):
    """Name, body and what a reader must say of it."""
    suite, key, salt, context = writer.suite, writer.data_key, writer.salt, writer.context
    full, rest = rng.randbytes(decoder.CHUNK), rng.randbytes(60)
    chunks = [(0, full), (1, full), (2, rest)]

    def body(chunks, **kwargs):
        return encoder.chunked(suite, key, salt, context, chunks, **kwargs)

    yield "B-NONCE little end", body(chunks, nonce_of=little_endian_nonce), "authentication"
    yield "B-NONCE at the front", body(chunks, nonce_of=front_nonce), "authentication"
    while sum_nonce(base := derived_nonce(writer), 1) == decoder.chunk_nonce(base, 1):
        writer.salt = rng.randbytes(24)
    salt = writer.salt
    yield "B-NONCE sum", body(chunks, nonce_of=sum_nonce), "authentication"
    yield "B-NONCE from one", body([(1, full), (2, rest)]), "authentication"
    yield "B-NONCE swapped", body([(1, full), (0, full), (2, rest)]), "authentication"
    yield "B-NOAAD", body([(0, rest)], aad=context), "authentication"
    yield "B-LAST full chunk last", body([(0, full)]), "truncated"
    yield "B-LAST short chunk first", body([(0, rest), (1, rest)]), "authentication"
    yield "B-LAST two empty chunks", body([(0, b""), (1, b"")]), "authentication"
    yield "B-LENGTH no chunk", body([]), "truncated"
    yield "B-LENGTH part of a tag", body([(0, full), (1, b"")])[:-1], "truncated"
    good = body([(0, rest)])
    changed = good[:55] + bytes([good[55] ^ 1]) + good[56:]
    yield "B-COMMIT", changed, "authentication"
    yield "B-COMMIT all zero", good[:24] + bytes(32) + good[56:], "authentication"
    other = encoder.chunked(suite, key, salt, writer.aad + writer.core, [(0, rest)])
    yield "B-CONTEXT order", other, "authentication"
    other = encoder.chunked(suite, key, salt, writer.aad, [(0, rest)])
    yield "B-CONTEXT no core", other, "authentication"
    yield "B-KDF hash", other_hash_body(writer, rest), "authentication"


def derived_nonce(writer):
    return decoder.derive(writer.data_key, writer.suite, writer.salt, writer.context)[1]


def other_hash_body(writer, plaintext):
    """With SHA-256, as older copies of the C2SP page have it; with SHA-512 where that is right."""
    name, length = SUITES[writer.suite]
    info = b"c2sp.org/chunked-encryption@v1+" + name + b"\0" + writer.salt + writer.context
    other = {hashlib.sha256: hashlib.sha512, hashlib.sha512: hashlib.sha256}
    other = other[decoder.hash_of(writer.suite)]
    derived = decoder.hkdf_expand(writer.data_key, info, length + 44, other)
    key, nonce, commitment = derived[:length], derived[length:-32], derived[-32:]
    aead = decoder.aead_of(writer.suite)
    return writer.salt + commitment + aead(key).encrypt(nonce, plaintext, None)


def wrong_slots(writer, rng):
    """Name, slots, data key of the body, keys and what a reader must say of it."""
    own, keys = writer.data_key, writer.keys()
    stray = rng.randbytes(len(own))
    later = encoder.Writer(rng, writer.suite, b"", b"", writer.name, writer.version + 1)
    both = {writer.name: {**keys[writer.name], **later.keys()[writer.name]}}

    def later_slot(data_key):
        nonce, number = rng.randbytes(24), writer.version + 1
        return encoder.wrap(writer.core, writer.name, number, later.master_key, data_key, nonce)

    # The stray key is wrapped with the right AAD: nothing but its check gives it away.
    yield "K-CHECK", [writer.slot(stray)], stray, None, "authentication"
    yield "O-ORDER", [writer.slot(stray), later_slot(own)], own, both, "accept"
    yield "O-FINAL", [writer.slot(), later_slot(stray)], stray, both, "authentication"
    yield "K-AAD none", [writer.slot(aad=b"")], own, None, "authentication"
    aad = decoder.wrap_aad(writer.core, writer.slot())
    yield "K-AAD no label", [writer.slot(aad=aad[16:])], own, None, "authentication"
    no_name = aad[: -len(writer.name)]
    yield "K-AAD no name", [writer.slot(aad=no_name)], own, None, "authentication"
    slot = writer.slot()
    slot.master_key_id = rng.randbytes(8)
    yield "K-MASTER", [slot], own, None, "no-key"
    yield "O-NOFALLBACK", [later_slot(own)], own, None, "refused"
    yield "H-DUPLICATE", [writer.slot(), writer.slot()], own, None, "header"
    yield "H-WRAPLEN", [writer.slot(own + own[:16])], own, None, "header"


def messages(rng):
    """Name, writer, message, keys and what a reader must say of it."""
    for suite in SUITES:
        for name, make in [("body", wrong_bodies), ("slots", wrong_slots)]:
            writer = encoder.Writer(rng, suite, b"plaintext", b"row 7")
            if make is wrong_bodies:
                for rule, body, expected in make(writer, rng):
                    title = f"suite{suite} {name} {rule}"
                    yield title, writer, writer.header() + body, None, expected
                continue
            for rule, slots, body_key, keys, expected in make(writer, rng):
                message = writer.header(slots) + writer.body(body_key)
                yield f"suite{suite} {name} {rule}", writer, message, keys, expected
