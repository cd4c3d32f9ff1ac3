//! The keyring's own slots, and failures of the generator and the slot writer.

use super::Rule;
use super::probe::{Expected, Probe, show};
use crate::conformance::{TestRng, TestSlot};
use crate::format::{KeyName, MAX_WRAPPED_KEY_LEN, SlotFault, Suite};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal};
use crate::{Aad, Envelope, RewrapOptions};
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Wraps twice, and unwraps every slot twice. Returns the slots of the last wrap.
pub(super) fn test<K: Keyring>(probe: &Probe<'_, K>) -> Vec<TestSlot> {
    let mut slots = Vec::new();
    for _ in 0..2 {
        let visited = probe.primary();
        Rule::Primary
            .check(!visited.is_empty(), "visit_primaries of a keyring that can wrap visits none");
        slots = probe.wrap();
        let (reported, pushed) = (visited.len(), slots.len());
        let same = || format!("visit_primaries visits {reported} slots, wrap pushes {pushed}");
        Rule::Primary.check(reported == pushed, same());
        for ((primary, max_len), slot) in visited.iter().zip(&slots) {
            test_slot(probe, primary, *max_len, slot);
        }
    }
    slots
}

fn test_slot<K: Keyring>(
    probe: &Probe<'_, K>,
    primary: &TestSlot,
    max_len: Option<usize>,
    slot: &TestSlot,
) {
    let shown = show(&slot.label());
    let reported = show(&primary.label());
    Rule::Primary.check(
        primary.label() == slot.label(),
        format!("visit_primaries visits a {reported}, wrap pushes a {shown}"),
    );
    let exact = slot.algorithm.wrapped_key_len(probe.message.context().suite());
    let len = slot.wrapped_key.len();
    let fits = exact.or(max_len).is_some_and(|room| len <= room && room <= MAX_WRAPPED_KEY_LEN);
    Rule::Primary
        .check(fits, format!("{len} bytes wrapped, visit_primaries reports {max_len:?}: {shown}"));
    for _ in 0..2 {
        probe.expect(slot, Expected::Opens, "the pushed slot");
    }
    let freshness = freshness(probe.keyring, slot);
    Rule::Freshness.check(
        freshness == Freshness::Primary,
        format!("a slot that was wrapped just now is {freshness:?}: {shown}"),
    );
}

pub(super) fn freshness<K: Keyring + ?Sized>(keyring: &K, slot: &TestSlot) -> Freshness {
    match keyring.freshness(&slot.label()) {
        Ok(freshness) => freshness,
        Err(error) => Rule::Freshness.broken(format!("{error:?} of {}", show(&slot.label()))),
    }
}

/// Rewraps every slot, and slots that must not be rewrapped.
pub(super) fn test_rewraps<K: Keyring>(probe: &Probe<'_, K>, slots: &[TestSlot]) {
    for slot in slots {
        let shown = show(&slot.label());
        let (result, new) = probe.rewrap(slot);
        let one = result.is_ok() && new.len() == 1;
        let pushed = new.len();
        Rule::Rewrap.check(one, format!("{result:?} and {pushed} slots, from a {shown}"));
        let new_shown = show(&new[0].label());
        let primary = probe.primary();
        let is_primary = primary.iter().any(|(primary, _)| primary.label() == new[0].label());
        Rule::Rewrap.check(
            new[0].name == slot.name && is_primary,
            format!("a {new_shown}, which is not the primary of that name, from a {shown}"),
        );
        probe.expect(&new[0], Expected::Opens, "the slot that a rewrap pushed");

        let mut foreign = slot.clone();
        foreign.name.push('x');
        expect_no_rewrap(probe, &foreign, Expected::NotMine);
        let mut unknown = slot.clone();
        unknown.version = super::binding::unknown_version(slots);
        expect_no_rewrap(probe, &unknown, Expected::Refused(Refusal::UnknownVersion));
        let mut changed = slot.clone();
        *changed.wrapped_key.last_mut().expect("no slot is empty") ^= 1;
        expect_no_rewrap(probe, &changed, Expected::Authentication);
    }
}

/// Calls `holds` and `wrap_under` for the name of every pushed slot, and for an unknown name.
pub(super) fn test_names<K: Keyring>(probe: &Probe<'_, K>, slots: &[TestSlot]) {
    for slot in slots {
        let name = slot.label().name;
        let visited = holds(probe, name);
        let own = !visited.is_empty() && visited.iter().all(|visited| *visited == slot.name);
        Rule::Holds.check(own, format!("of {name} it visits {visited:?}"));
        let (result, new) = probe.wrap_under(name);
        let one = result.is_ok() && new.len() == 1 && new[0].name == slot.name;
        let is_primary = one && slots.iter().any(|slot| slot.label() == new[0].label());
        let shown = new.iter().map(|new| show(&new.label())).collect::<Vec<_>>();
        Rule::WrapUnder.check(one && is_primary, format!("of {name}: {result:?} and {shown:?}"));
        probe.expect(&new[0], Expected::Opens, "the slot that wrap_under pushed");
    }
    let nobody = KeyName::checked("conformance/nobody");
    let visited = holds(probe, nobody);
    Rule::Holds.check(visited.is_empty(), format!("of {nobody} it visits {visited:?}"));
    let (result, new) = probe.wrap_under(nobody);
    let reported =
        matches!(&result, Err(KeyringError::UnknownKey { key }) if key == nobody.as_str());
    let pushed = new.len();
    let text = format!("of {nobody}: {result:?} and {pushed} slots");
    Rule::WrapUnder.check(reported && new.is_empty(), text);
}

fn holds<K: Keyring>(probe: &Probe<'_, K>, name: KeyName<'_>) -> Vec<String> {
    let mut visited = Vec::new();
    let result = probe.keyring.holds(name, &mut |name| visited.push(name.as_str().to_owned()));
    if let Err(error) = result {
        Rule::Holds.broken(format!("of {name}: {error:?}"));
    }
    visited
}

pub(super) fn expect_no_rewrap<K: Keyring>(
    probe: &Probe<'_, K>,
    slot: &TestSlot,
    expected: Expected,
) {
    let (result, new) = probe.rewrap(slot);
    let shown = show(&slot.label());
    let same = matches!(
        (expected, &result),
        (Expected::NotMine, Err(KeyringError::NotMine))
            | (Expected::Authentication, Err(KeyringError::Authentication))
    ) || matches!((expected, &result),
        (Expected::Refused(expected), Err(KeyringError::Refused(reported))) if expected == *reported);
    Rule::Rewrap.check(
        same && new.is_empty(),
        format!("{result:?} and {} slots, expected {expected:?}, from a {shown}", new.len()),
    );
}

/// Wraps with a generator that fails at its first, second, ... request, and into a header without room.
pub(super) fn test_failures<K: Keyring>(probe: &Probe<'_, K>, slots: usize) {
    for requests in 0.. {
        let mut rng = TestRng::failing_after(requests);
        let (result, pushed) = probe.message.wrap(probe.keyring, &mut rng);
        let failed = rng.asked() > requests;
        match result {
            Err(KeyringError::Randomness(_)) if failed && pushed.len() < slots => {}
            Ok(()) if !failed => break,
            result => Rule::Randomness.broken(format!(
                "{result:?} and {} slots; the generator got {} requests and fails after \
                 {requests}",
                pushed.len(),
                rng.asked(),
            )),
        }
    }
    for room in [0, 1, 40] {
        let mut rng = TestRng::seeded(3);
        let (result, pushed) = probe.message.wrap_into(probe.keyring, &mut rng, room);
        if let Err(error) = &result {
            probe.check_error(error);
        }
        let reported = matches!(result, Err(KeyringError::Slot(SlotFault::Room { .. })));
        Rule::Room.check(
            reported && pushed.is_empty(),
            format!("{result:?} and {} slots in {room} bytes", pushed.len()),
        );
    }
}

/// Unwraps the slots with another keyring, which opens them with the right key or reports why not.
pub(super) fn test_other_keyring<K: Keyring>(probe: &Probe<'_, K>, slots: &[TestSlot], other: &K) {
    for slot in slots {
        let mut data_key = crate::DataKey::empty();
        let result = probe.message.unwrap_over(other, slot, &mut data_key);
        let reported = match &result {
            Ok(()) => probe.message.is_data_key(&data_key),
            Err(error) => matches!(
                error,
                KeyringError::NotMine
                    | KeyringError::Authentication
                    | KeyringError::Refused(Refusal::UnknownVersion)
            ),
        };
        let shown = show(&slot.label());
        Rule::NotMine.check(reported, format!("another keyring's {shown}: {result:?}"));
    }
}

/// Encrypts, decrypts and rewraps a message.
pub(super) fn test_messages<K: Keyring>(keyring: &K, suite: Suite) {
    let envelope = Envelope::new(keyring).with_suite(suite);
    let aad = Aad::new(b"conformance");
    let mut rng = TestRng::seeded(5);
    let tested = envelope.with_rng(&mut rng).encrypt(b"text", aad).and_then(|message| {
        let text = envelope.decrypt(&message, aad)?;
        let stale = envelope.needs_rewrap(&message)?;
        let rewrap = envelope.with_rng(&mut rng).rewrap(&message, RewrapOptions::new())?;
        Ok(text == b"text" && !stale && !rewrap.is_changed())
    });
    let fresh = matches!(tested, Ok(true));
    Rule::RoundTrip.check(fresh, format!("a message of {suite:?}: {tested:?}"));
}
