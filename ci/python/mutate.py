"""Changed messages: what an attacker or a broken disk makes of golden ones."""

import hashlib

import decoder
import manifest

PER_MESSAGE = 220


def mutants(golden, rng):
    """Distinct changed messages, each with the decoder's verdict."""
    bases = []
    for entry in manifest.read(golden / "manifest.txt"):
        message = entry.message(golden)
        if len(message) < 1600 and len(entry.keys()) == 1:
            bases.append((entry, message))
    assert len(bases) >= 20, f"{golden}: only {len(bases)} small messages"
    seen = {message for _, message in bases}
    made = []
    for entry, message in bases:
        peers = [other for peer, other in bases if peer.text("suite") == entry.text("suite")]
        for number in range(PER_MESSAGE):
            changed = change(rng, message, rng.choice(peers))
            if changed in seen:
                continue
            seen.add(changed)
            made.append(describe(f"{entry.name}-{number}", entry, changed))
    return made


def describe(name, base, message):
    entry = manifest.Entry(name)
    for field in ["suite", "aad"]:
        entry.push(field, base.text(field))
    for line in base.all("key"):
        entry.push("key", line)
    entry.push("hex", message.hex())
    verdict = decoder.verdict(message, base.keys(), base.bytes("aad"))
    # Of what a change leaves open, not a byte of the plaintext is another.
    good = "accept:" + hashlib.sha256(base.plaintext()).hexdigest()
    assert verdict == good or not verdict.startswith("accept"), name
    entry.push("verdict", verdict)
    return entry


def change(rng, message, peer):
    return rng.choice(CHANGES)(rng, bytearray(message), bytearray(peer))


def header_len(message):
    return int.from_bytes(message[22:24], "big")


def position(rng, message):
    """Mostly in the header, and there mostly in its fields."""
    limit = rng.choice([25, 60, header_len(message), len(message)])
    return rng.randrange(min(limit, len(message)))


def flip(rng, message, _):
    message[position(rng, message)] ^= 1 << rng.randrange(8)
    return bytes(message)


def put(rng, message, _):
    message[position(rng, message)] = rng.choice([0, 1, 2, 3, 16, 17, 18, 0x7F, 0x80, 0xFF])
    return bytes(message)


def cut(rng, message, _):
    return bytes(message[: position(rng, message)])


def grow(rng, message, _):
    return bytes(message) + rng.randbytes(rng.choice([1, 15, 16, 17, 100]))


def insert(rng, message, _):
    at = position(rng, message)
    return bytes(message[:at]) + rng.choice([b"\0", rng.randbytes(1)]) + bytes(message[at:])


def delete(rng, message, _):
    del message[position(rng, message)]
    return bytes(message)


def splice(rng, message, peer):
    """The start of one message and the end of another."""
    at = rng.choice([6, 14, 22, 24, 25, header_len(message), position(rng, message)])
    return bytes(message[:at] + peer[at:])


def pad(rng, message, _):
    """Padding resized consistently, which the body does not notice."""
    room, length = rng.randrange(1, 40), header_len(message)
    message[22:24] = min(length + room, 65535).to_bytes(2, "big")
    fill = rng.choice([bytes(room), bytes(room), rng.randbytes(room)])
    return bytes(message[:length]) + fill + bytes(message[length:])


def edit(rng, message, peer):
    """A header whose slots are swapped, doubled, dropped, changed or taken from another header."""
    header, other = decoder.parse_header(bytes(message)), decoder.parse_header(bytes(peer))
    body, slots = bytes(message[header.length :]), header.slots
    kind = rng.randrange(7)
    if kind == 0:
        rng.shuffle(slots)
    elif kind == 1:
        slots.insert(rng.randrange(len(slots) + 1), rng.choice(other.slots))
    elif kind == 2:
        slots.append(rng.choice(slots))
    elif kind == 3:
        del slots[rng.randrange(len(slots))]
    else:
        slot = slots[rng.randrange(len(slots))]
        slot.version = rng.choice([slot.version, 0, 1, 2, slot.version ^ 8])
        slot.algorithm = rng.choice([slot.algorithm, 0, 1, 2, 3, 4, 127, 128, 255])
        slot.name = rng.choice([slot.name, b"orders", slot.name + b"-", b"-" + slot.name, b""])
        slot.wrapped_key = rng.choice([slot.wrapped_key, slot.wrapped_key[:-1], b""])
    header.length = 25 + sum(len(slot.encode()) for slot in slots) + header.padding
    header.length += rng.choice([0, 0, 0, 1, -1, -17, 18])
    return header.encode() + body


CHANGES = [flip, flip, put, put, cut, grow, insert, delete, splice, pad, edit, edit, edit]
