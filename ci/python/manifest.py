"""Manifests of messages; tests/golden/README.md describes their form."""

import pathlib

import decoder


class Entry:
    def __init__(self, name):
        self.name = name
        self.fields = []

    def push(self, field, value):
        self.fields.append((field, str(value)))

    def all(self, field):
        return [value for name, value in self.fields if name == field]

    def find(self, field):
        return next(iter(self.all(field)), None)

    def text(self, field):
        value = self.find(field)
        assert value is not None, f"{self.name}: no field {field}"
        return value

    def bytes(self, field):
        return bytes.fromhex(self.text(field))

    def message(self, directory):
        if self.find("hex") is not None:
            return self.bytes("hex")
        files = self.all("file") or [self.text("header"), self.text("body")]
        return b"".join((pathlib.Path(directory) / file).read_bytes() for file in files)

    def plaintext(self):
        kind, _, rest = self.text("plaintext").partition(" ")
        return rule(int(rest)) if kind == "rule" else bytes.fromhex(rest)

    def keys(self):
        """Name to version to master key; the state matters to writers only."""
        keys = {}
        for line in self.all("key"):
            name, version, key, _ = line.split(" ")
            keys.setdefault(name.encode(), {})[int(version)] = bytes.fromhex(key)
        return keys


    def token_keys(self):
        """The same of versions on a token."""
        keys = {}
        for line in self.all("token-key"):
            name, version, key_id, algorithm, *material = line.split(" ")
            material = [bytes.fromhex(key) for key in material]
            token_key = decoder.TokenKey(bytes.fromhex(key_id), int(algorithm), *material)
            keys.setdefault(name.encode(), {})[int(version)] = token_key
        return keys


def rule(length):
    """The plaintext of a length, as golden messages have it."""
    return bytes((at + 7 * (at >> 8) + 13 * (at >> 14)) & 0xFF for at in range(length))


def read(path):
    entries = []
    for line in pathlib.Path(path).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("message "):
            entries.append(Entry(line[len("message ") :]))
            continue
        field, separator, value = line.partition(" =")
        assert separator, line
        entries[-1].push(field, value.lstrip())
    assert entries, f"{path}: a manifest without a message"
    return entries


def write(path, comment, entries):
    lines = [f"# {comment}"]
    for entry in entries:
        lines += ["", f"message {entry.name}"]
        lines += [f"{field} = {value}".rstrip() for field, value in entry.fields]
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
