"""A rewrap, an addition and a removal as SPEC 6 words them, without any of this crate: reproduces the
worked cases there.

    rewrap.py SPEC.md
"""

import pathlib
import re
import sqlite3
import sys

PRIMARY = {"a": 2, "b": 2}
DISABLED = {("b", 9)}
COMPROMISED = {("a", 4)}


class Slot:
    def __init__(self, text):
        label, _, kind = text.partition(" ")
        self.name, self.version = label[0], int(label[1:] or 0)
        self.label, self.damaged, self.new = label, kind == "damaged", kind == "new"
        self.held = self.name in PRIMARY
        self.primary = self.held and self.version == PRIMARY[self.name]
        self.disabled = (self.name, self.version) in DISABLED
        self.compromised = (self.name, self.version) in COMPROMISED
        self.stale = self.held and not (self.primary or self.disabled or self.compromised)
        self.opened = False

    def __str__(self):
        return self.label + (" new" if self.new else "")


class Rewrap:
    def __init__(self, slots):
        self.slots, self.calls = slots, []

    def unwrap(self, slot):
        self.calls.append(f"unwrap {slot.label}")
        slot.opened = not slot.damaged
        return slot.opened

    def name(self, name):
        """R-KEEP, of a name of which some slot is not labelled with the primary (R-LABELS)."""
        for slot in [slot for slot in self.slots if slot.name == name and slot.primary]:
            self.unwrap(slot)
        for slot in [slot for slot in self.slots if slot.name == name and slot.stale]:
            self.calls.append(f"rewrap {slot.label}")
            if slot.damaged:
                continue
            slot.opened = self.opened = True
            twins = [other for other in self.slots if other.name == name and other.primary]
            if any(twin.opened for twin in twins):
                self.slots.remove(slot)
                continue
            new = Slot(f"{name}{PRIMARY[name]} new")
            self.unwrap(new)  # R-PROOF
            self.slots = [new if other is slot else other for other in self.slots if other not in twins]

    def run(self):
        names = list(dict.fromkeys(slot.name for slot in self.slots if slot.held))
        mixed = [
            name for name in names
            if not all(slot.primary for slot in self.slots if slot.name == name)
        ]
        if names and not mixed:  # R-LABELS
            return ", ".join(map(str, self.slots))
        self.opened = False
        for slot in self.slots:  # R-COMPROMISED
            if slot.compromised and self.unwrap(slot):
                return f"refused {slot.label}"
        for name in mixed:
            self.name(name)
        for slot in self.slots:  # R-FAIL
            if any(slot.opened for slot in self.slots):
                return ", ".join(map(str, self.slots))
            if slot.primary and slot.name not in mixed:
                self.unwrap(slot)
        if any(slot.opened for slot in self.slots):
            return ", ".join(map(str, self.slots))
        refused = [slot for slot in self.slots if slot.disabled]
        if refused:  # O-PRECEDENCE
            return f"refused {refused[0].label}"
        return "not authentic" if any(slot.held for slot in self.slots) else "no key"


class Change(Rewrap):
    """SPEC 6.1."""

    def open_one(self, slots):
        """G-OPEN: the error that O-PRECEDENCE names, or None."""
        refused = None
        for slot in slots:
            if slot.disabled or slot.compromised:
                refused = refused or slot
            elif slot.held and self.unwrap(slot):
                return None
        if refused:
            return f"refused {refused.label}"
        return "not authentic" if any(slot.held for slot in slots) else "no key"

    def add(self):
        """G-ADD, of one slot: e2."""
        twins = [slot for slot in self.slots if slot.label == "e2"]
        if not any(map(self.unwrap, twins)):
            error = self.open_one(self.slots)
            if error:
                return error
            self.calls.append("wrap e2")
            new = Slot("e2 new")
            self.unwrap(new)  # G-PROOF
            self.slots = [new if slot in twins else slot for slot in self.slots]
            if not twins:
                self.slots.append(new)
        return ", ".join(map(str, self.slots))

    def remove(self, name):
        """G-REMOVE."""
        others = [slot for slot in self.slots if slot.name != name]
        if others == self.slots:
            return "no slot"
        return "last" if self.open_one(others) else ", ".join(map(str, others))


def cases(path, title, run):
    text = pathlib.Path(path).read_text()
    (block,) = re.findall(rf"^```text\n{title}\n(.*?)^```$", text, re.S | re.M)
    lines = block.splitlines()
    for line in lines:
        before, after, calls = map(str.strip, re.fullmatch(r"(.*)->(.*):(.*)", line).groups())
        change = Change([Slot(slot) for slot in before.split(", ")])
        outcome = run(change)
        assert (outcome, ", ".join(change.calls)) == (after, calls), (line, outcome, change.calls)
    print(f"{title}: {len(lines)} worked cases")
    return len(lines)


def index(path):
    """The SQL of `SlotLabel::index_bytes` over the header of example A, beside one of another id."""
    example = pathlib.Path(path).read_text().split("```text\nexample A\n")[1]
    value = re.search(r"^header +=((?:\s+[0-9a-f]+$)+)", example, re.M).group(1)
    header = bytes.fromhex("".join(value.split()))
    other = header[:36] + bytes([header[36] ^ 1]) + header[37:]
    table = sqlite3.connect(":memory:")
    table.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, header BLOB)")
    table.execute("CREATE INDEX slot0 ON t (substr(header, 26, 12))")
    table.executemany("INSERT INTO t (header) VALUES (?)", [(header,), (other,), (header,)])
    query = "SELECT id FROM t WHERE substr(header, 26, 12) IN (?, ?)"
    old = bytes.fromhex("00000005b13dcc0cdcf8f326")
    assert table.execute(query, (old, bytes(12))).fetchall() == [(1,), (3,)]
    plan = table.execute("EXPLAIN QUERY PLAN " + query, (old, bytes(12))).fetchall()
    assert "USING INDEX slot0" in str(plan), plan
    print("index: the stale rows, by the index")


if __name__ == "__main__":
    index(sys.argv[1])
    counts = [
        cases(sys.argv[1], "rewraps", Rewrap.run),
        cases(sys.argv[1], "adds", Change.add),
        cases(sys.argv[1], "removes b", lambda change: change.remove("b")),
    ]
    assert counts == [16, 14, 8], counts
