"""Checks envelock from outside; run by ci/python.sh. Every command fails loudly or prints how
much it has checked.

    check.py vectors               the decoder itself, by the vectors of XAES-256-GCM
    check.py examples SPEC.md      every value of the worked examples A, B, E and F
    check.py read DIRECTORY        opens every message of a manifest
    check.py write DIRECTORY SEED  makes messages, right and wrong ones, with verdicts
    check.py mutants GOLDEN DIRECTORY SEED
                                   changes messages and writes down what the decoder says
"""

import collections
import hashlib
import pathlib
import random
import re
import sys

import decoder
import encoder
import manifest
import mutate
import wrong

SIZES = [0, 1, 16383, 16384, 16385, 32767, 32768, 32769, 3 * 16384, (1 << 20) + 7]
# Associated data of every length from none to two blocks of SHA-512 and more behind the 94 bytes of
# HKDF's info that precede it: each place of the hash's block and of its padding.
AAD_LENGTHS = range(301)


def vectors():
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    named = [
        (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ]
    for byte, aad, sealed in named:
        key = bytes([byte]) * 32
        assert decoder.xaes_open(key, nonce, bytes.fromhex(sealed), aad) == b"XAES-256-GCM"
    stream = decoder.Reader(hashlib.shake_128().digest(6_000_000))
    sealed = hashlib.shake_128()
    for _ in range(10_000):
        key, nonce = stream.take(32), stream.take(24)
        plaintext = stream.take(stream.take(1)[0])
        aad = stream.take(stream.take(1)[0])
        aead = encoder.AESGCM(decoder.xaes_key(key, nonce))
        sealed.update(aead.encrypt(nonce[12:], plaintext, aad))
    expected = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
    assert sealed.hexdigest(32) == expected
    print("vectors: 2 named and 10,000 accumulated ones of XAES-256-GCM")


def parse_examples(text):
    examples = []
    for block in re.findall(r"^```text\n(example .*?)^```$", text, re.S | re.M):
        title, _, rest = block.partition("\n")
        values = re.findall(r"^(\S[^=\n]*?) +=((?: [0-9a-f]+)?(?:\n +[0-9a-f]+)*)$", rest, re.M)
        joined = {name: bytes.fromhex("".join(value.split())) for name, value in values}
        assert len(joined) == len(values), title
        examples.append((title, joined))
    return examples


def check_example(title, values):
    message, suite = values["message"], values["core"][5]
    header = decoder.parse_header(message)
    (ours,) = [slot for slot in header.slots if slot.algorithm == 1]
    data_key, context = values["data key"], values["core"] + values["associated data"]
    key, base_nonce, commitment = decoder.derive(data_key, suite, values["salt"], context)
    check_info = b"envelock data key id v1" + bytes([1, suite]) + values["r"]
    info = b"c2sp.org/chunked-encryption@v1+" + decoder.SUITES[suite][0] + b"\0"
    slots = {f"slot {index}": slot.encode() for index, slot in enumerate(header.slots)}
    body = message[header.length :]
    expected = slots | {
        "master key": values["master key"],
        "key name": ours.name,
        "key version": ours.version.to_bytes(4, "big"),
        "plaintext": decoder.open_body(data_key, suite, context, body),
        "associated data": values["associated data"],
        "data key": decoder.find_data_key(header, {ours.name: {ours.version: values["master key"]}}),
        "r": header.r,
        "salt": body[:24],
        "wrap nonce": ours.wrapped_key[:24],
        "master key id": decoder.master_key_id(values["master key"]),
        "check info": check_info,
        "check": decoder.data_key_check(data_key, suite, values["r"]),
        "core": encoder.core_of(suite, values["r"], data_key),
        "wrap AAD": decoder.wrap_aad(header.core, ours),
        "XAES derived key": decoder.xaes_key(values["master key"], values["wrap nonce"]),
        "wrapped key": ours.wrapped_key,
        "header": header.encode(),
        "context": context,
        "info": info + values["salt"] + context,
        "derived": key + base_nonce + commitment,
        "key": key,
        "base nonce": base_nonce,
        "commitment": commitment,
        "chunk 0 nonce": decoder.chunk_nonce(base_nonce, 0),
        "chunk 258 nonce": decoder.chunk_nonce(base_nonce, 258),
        "chunk 0": body[56:],
        "body": body,
        "message": values["header"] + values["body"],
    }
    assert values.keys() == expected.keys(), f"{title}: {values.keys() ^ expected.keys()}"
    for name, value in expected.items():
        assert values[name] == value, f"{title}: {name}"


def examples(path):
    found = parse_examples(pathlib.Path(path).read_text())
    titles = [f"example {letter}" for letter in "ABCDEF"]
    assert [title for title, _ in found] == titles, f"{path}: no examples"
    # The others are of tokens: token_answers.py.
    messages = found[:2] + found[4:]
    for title, values in messages:
        check_example(title, values)
    print(f"examples: {sum(len(values) for _, values in messages)} values")


def read(directory):
    directory = pathlib.Path(directory)
    entries = manifest.read(directory / "manifest.txt")
    for entry in entries:
        check_entry(entry, entry.message(directory))
    print(f"read: {len(entries)} messages of {directory} opened")


def check_entry(entry, message):
    header = decoder.parse_header(message)
    if entry.find("slot") is not None:
        assert [slot.line() for slot in header.slots] == entry.all("slot"), entry.name
        assert header.padding == int(entry.text("padding")), entry.name
    assert header.suite == int(entry.text("suite")), entry.name
    aad, plaintext = entry.bytes("aad"), entry.plaintext()
    for name, versions in [*entry.keys().items(), *entry.token_keys().items()]:
        keys = {name: versions}
        assert decoder.open_message(message, keys, aad) == plaintext, entry.name
        if entry.find("data-key") is not None:
            assert decoder.find_data_key(header, keys) == entry.bytes("data-key"), entry.name
        assert decoder.verdict(message, keys, aad + b".") == "authentication", entry.name


def entry_of(name, writer, message, keys=None):
    entry = manifest.Entry(name)
    entry.push("suite", writer.suite)
    entry.push("aad", writer.aad.hex())
    entry.push("plaintext", "hex " + writer.plaintext.hex())
    entry.push("hex", message.hex())
    for name, versions in (keys or writer.keys()).items():
        for version, key in sorted(versions.items()):
            entry.push("key", f"{name.decode()} {version} {key.hex()} enabled")
    entry.push("verdict", decoder.verdict(message, keys or writer.keys(), writer.aad))
    return entry


def random_writer(rng, suite, size):
    alphabet = decoder.ALPHANUMERIC.decode()
    tail = "".join(rng.choices(alphabet + "._:/@+=-", k=rng.randrange(64)))
    name = (rng.choice(alphabet) + tail).encode()
    aad = rng.randbytes(rng.randrange(80))
    version = rng.choice([1, 2, 255, 256, rng.randrange(1, 1 << 32), (1 << 32) - 1])
    return encoder.Writer(rng, suite, rng.randbytes(size), aad, name, version)


def write(directory, seed):
    rng = random.Random(int(seed))
    entries = []
    for suite in decoder.SUITES:
        for size in SIZES:
            writer = random_writer(rng, suite, size)
            message = writer.header(padding=rng.randrange(20)) + writer.body()
            entries.append(entry_of(f"suite{suite}-{size}", writer, message))
        for aad_length in AAD_LENGTHS:
            writer = encoder.Writer(rng, suite, rng.randbytes(aad_length % 70), rng.randbytes(aad_length))
            message = writer.header() + writer.body()
            entries.append(entry_of(f"suite{suite}-aad-{aad_length}", writer, message))
    for number in range(1000):
        size = rng.choice([rng.randrange(4), rng.randrange(300), rng.randrange(2000)])
        writer = random_writer(rng, rng.choice(list(decoder.SUITES)), size)
        message = writer.header(padding=rng.choice([0, 0, 1, rng.randrange(300)])) + writer.body()
        entries.append(entry_of(f"random-{number}", writer, message))
    for entry in entries:
        assert entry.text("verdict").startswith("accept:"), entry.name
    good = len(entries)
    for name, writer, message, keys, expected in wrong.messages(rng):
        entry = entry_of(name, writer, message, keys)
        said = entry.text("verdict").partition(":")[0]
        assert said == expected, f"{name}: {said}, not {expected}"
        entries.append(entry)
    manifest.write(pathlib.Path(directory) / "manifest.txt", f"seed {seed}", entries)
    print(f"write: {good} good messages, {len(entries) - good} made wrong")


def mutants(golden, directory, seed):
    entries = mutate.mutants(pathlib.Path(golden), random.Random(int(seed)))
    kinds = collections.Counter(entry.text("verdict").partition(":")[0] for entry in entries)
    needed = {"accept", "header", "magic", "truncated", "authentication", "no-key", "refused"}
    assert kinds.keys() == needed, f"seed {seed}: {kinds}"
    assert len(entries) >= 1000
    manifest.write(pathlib.Path(directory) / "manifest.txt", f"seed {seed}", entries)
    print(f"mutants: {len(entries)} distinct ones,", dict(kinds))


COMMANDS = {
    "vectors": vectors,
    "examples": examples,
    "read": read,
    "write": write,
    "mutants": mutants,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
