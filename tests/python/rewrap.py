"""A rewrap as SPEC 6 words it, without any of this crate: reproduces the worked cases there.

    rewrap.py SPEC.md
"""

import pathlib
import re
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


def cases(path):
    text = pathlib.Path(path).read_text()
    (block,) = re.findall(r"^```text\nrewraps\n(.*?)^```$", text, re.S | re.M)
    lines = block.splitlines()
    for line in lines:
        before, after, calls = map(str.strip, re.fullmatch(r"(.*)->(.*):(.*)", line).groups())
        rewrap = Rewrap([Slot(slot) for slot in before.split(", ")])
        outcome = rewrap.run()
        assert (outcome, ", ".join(rewrap.calls)) == (after, calls), (line, outcome, rewrap.calls)
    assert len(lines) == 16
    print(f"rewrap: {len(lines)} worked cases")


if __name__ == "__main__":
    cases(sys.argv[1])
