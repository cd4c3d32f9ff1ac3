//! Binding of wraps: one change to a slot, or to its message.

use super::Rule;
use super::contract::freshness;
use super::probe::{Expected, Probe, show};
use crate::conformance::{TestMessage, TestRng, TestSlot};
use crate::format::{DataKeyId, KeyVersion, MasterKeyId, Suite, WrapAlgorithm};
use crate::keyring::{Freshness, Keyring, Refusal};
use std::format;
use std::vec::Vec;

/// Most bits of a wrapped key that are changed.
const MAX_BITS: usize = 1024;

pub(super) fn test<K: Keyring>(probe: &Probe<'_, K>, slots: &[TestSlot]) {
    for slot in slots {
        test_wrapped_key(probe, slot);
        test_label(probe, slot, slots);
        test_message(probe, slot);
        for other in slots.iter().filter(|other| *other != slot) {
            let mut mixed = other.clone();
            mixed.wrapped_key.clone_from(&slot.wrapped_key);
            let own_len = mixed.wrapped_key.len() == other.wrapped_key.len();
            if own_len || other.algorithm.id() > 3 {
                probe.expect(&mixed, Expected::Authentication, "another slot's wrapped key");
            }
        }
    }
}

fn test_wrapped_key<K: Keyring>(probe: &Probe<'_, K>, slot: &TestSlot) {
    let bits = slot.wrapped_key.len() * 8;
    let mut changed = slot.clone();
    for bit in (0..bits).step_by(bits.div_ceil(MAX_BITS)) {
        changed.wrapped_key[bit / 8] ^= 1 << (bit % 8);
        let what = format!("bit {bit} of the wrapped key changed");
        probe.expect(&changed, Expected::Authentication, &what);
        changed.wrapped_key[bit / 8] ^= 1 << (bit % 8);
    }
    let key = &slot.wrapped_key;
    let twice = [key.as_slice(), key].concat();
    let lengths: [(&str, Vec<u8>); 7] = [
        ("the last byte of the wrapped key cut off", key[..key.len() - 1].to_vec()),
        ("the first byte of the wrapped key cut off", key[1..].to_vec()),
        ("half of the wrapped key", key[..key.len() / 2].to_vec()),
        ("a byte behind the wrapped key", [key.as_slice(), &[0]].concat()),
        ("the wrapped key twice", twice),
        ("one byte for a wrapped key", key[..1].to_vec()),
        ("no wrapped key", Vec::new()),
    ];
    for (what, wrapped_key) in lengths {
        changed.wrapped_key = wrapped_key;
        probe.expect(&changed, Expected::Authentication, what);
    }
}

/// Returns a version that no keyring under test has.
pub(super) fn unknown_version(slots: &[TestSlot]) -> KeyVersion {
    let mut numbers = (1..=u32::MAX).rev().filter_map(KeyVersion::new);
    let unknown = numbers.find(|version| slots.iter().all(|slot| slot.version != *version));
    unknown.expect("a header has 16 slots at most")
}

fn test_label<K: Keyring>(probe: &Probe<'_, K>, slot: &TestSlot, slots: &[TestSlot]) {
    let names = [
        format!("{}x", slot.name),
        format!("x{}", slot.name),
        "conformance/nobody".into(),
        swap_case(&slot.name),
    ];
    for name in names.into_iter().filter(|name| name.len() <= 255) {
        if slots.iter().all(|other| other.name != name) {
            let renamed = TestSlot { name, ..slot.clone() };
            expect_foreign(probe, &renamed, Expected::NotMine, "another name");
            let freshness = freshness(probe.keyring, &renamed);
            Rule::Freshness.check(
                freshness == Freshness::NotMine,
                format!("{freshness:?} under another name: {}", show(&renamed.label())),
            );
        }
    }
    let unknown = TestSlot { version: unknown_version(slots), ..slot.clone() };
    let refused = Expected::Refused(Refusal::UnknownVersion);
    expect_foreign(probe, &unknown, refused, "an unknown version");
    for bit in 0..64 {
        let mut id = slot.master_key_id.0;
        id[bit / 8] ^= 1 << (bit % 8);
        let other = TestSlot { master_key_id: MasterKeyId(id), ..slot.clone() };
        expect_foreign(probe, &other, Expected::NotMine, "another master key id");
    }
    for algorithm in (1..=u8::MAX).filter_map(WrapAlgorithm::new) {
        if algorithm != slot.algorithm {
            let other = TestSlot { algorithm, ..slot.clone() };
            probe.expect(&other, Expected::NotMine, "another wrap algorithm");
        }
    }
}

/// A slot that does not open is never at the primary, or no rewrap would find it.
fn expect_foreign<K: Keyring>(
    probe: &Probe<'_, K>,
    slot: &TestSlot,
    expected: Expected,
    what: &str,
) {
    probe.expect(slot, expected, what);
    let freshness = freshness(probe.keyring, slot);
    Rule::Freshness.check(
        freshness != Freshness::Primary,
        format!("{what} is at the primary: {}", show(&slot.label())),
    );
}

fn swap_case(name: &str) -> std::string::String {
    let swap = |c: char| {
        if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    name.chars().map(swap).collect()
}

/// Moves the slot to other messages.
fn test_message<K: Keyring>(probe: &Probe<'_, K>, slot: &TestSlot) {
    let context = probe.message.context();
    let (suite, DataKeyId(id)) = (context.suite(), context.data_key_id());
    let moved = |suite, id, what: &str| {
        let other = probe.with(probe.message.misplaced(suite, DataKeyId(id)));
        other.expect(slot, Expected::Authentication, what);
    };
    for bit in 0..128 {
        let mut other = id;
        other[bit / 8] ^= 1 << (bit % 8);
        moved(suite, other, &format!("bit {bit} of the data key id changed"));
    }
    for other in Suite::ALL.iter().copied().filter(|other| *other != suite) {
        moved(other, id, "another suite");
    }
    let other = probe.with(TestMessage::new(suite, &mut TestRng::seeded(77)));
    other.expect(slot, Expected::Authentication, "the slot in another message");
}
