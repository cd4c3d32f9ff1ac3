"""Messages of 64 MiB, streamed: opened from what Rust wrote, and written for Rust to open. The
bodies are those of `cryptography.cobblestone`, in pieces.

    stream.py read DIRECTORY       opens the message of a manifest and compares its digest
    stream.py write DIRECTORY SEED makes one
"""

import hashlib
import itertools
import pathlib
import random
import sys

from cryptography import cobblestone
from cryptography.exceptions import InvalidTag

import decoder
import encoder
import manifest

LENGTH = 64 << 20
# Lengths of pieces, in turn: none is a chunk's, and none divides one.
PIECES = [1, 7, 16383, 16401, 100_003, (1 << 20) + 1]


def pieces(data):
    at = 0
    for length in itertools.cycle(PIECES):
        if at >= len(data):
            return
        yield data[at : at + length]
        at += length


def open_stream(data_key, context, body):
    """Length and digest of the plaintext, once all of it is verified."""
    decryptor = cobblestone.Cobblestone256Decryptor(data_key, context)
    digest, length = hashlib.sha256(), 0
    for piece in pieces(memoryview(body)):
        plaintext = decryptor.update(bytes(piece))
        digest.update(plaintext)
        length += len(plaintext)
    plaintext = decryptor.finalize()
    digest.update(plaintext)
    return length + len(plaintext), digest.hexdigest()


def read(directory):
    (entry,) = manifest.read(pathlib.Path(directory) / "manifest.txt")
    message = entry.message(directory)
    header = decoder.parse_header(message)
    assert header.suite == 1
    data_key = decoder.find_data_key(header, entry.keys())
    context = header.core + entry.bytes("aad")
    body = message[header.length :]
    length, digest = open_stream(data_key, context, body)
    assert length == LENGTH, length
    assert digest == entry.text("sha256"), "another plaintext"
    # This check can fail: a bit of the last chunk, and the last byte missing.
    for wrong in [body[:-20] + bytes([body[-20] ^ 1]) + body[-19:], body[:-1]]:
        try:
            open_stream(data_key, context, wrong)
        except InvalidTag:
            continue
        raise AssertionError("a changed message opens")
    print(f"read: a stream of {length} bytes opened")


def write(directory, seed):
    directory, rng = pathlib.Path(directory), random.Random(int(seed))
    # Not a multiple of a chunk: other tests cover the lengths around one.
    plaintext = rng.randbytes(LENGTH + 5)
    writer = encoder.Writer(rng, 1, b"", b"a stream", b"streams", 7)
    encryptor = cobblestone.Cobblestone256Encryptor(writer.data_key, writer.context)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "stream.message", "wb") as file:
        file.write(writer.header())
        for piece in pieces(memoryview(plaintext)):
            file.write(encryptor.update(bytes(piece)))
        file.write(encryptor.finalize())
    entry = manifest.Entry("stream")
    entry.push("file", "stream.message")
    entry.push("aad", writer.aad.hex())
    entry.push("length", len(plaintext))
    entry.push("sha256", hashlib.sha256(plaintext).hexdigest())
    for name, versions in writer.keys().items():
        for version, key in versions.items():
            entry.push("key", f"{name.decode()} {version} {key.hex()} primary")
    manifest.write(directory / "manifest.txt", f"seed {seed}", [entry])
    print(f"write: a stream of {len(plaintext)} bytes made")


COMMANDS = {"read": read, "write": write}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
