//! Whatever a header holds and whatever becomes of its keys, a rewrap keeps body, core, foreign
//! slots and readability, and needs nothing but the header.

use crate::common::detached::{ReadDetached, WriteDetached};
use crate::rewrap::compose;

use compose::{compose, keyring, slots_by_version, slots_of};
use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, Envelope, Error, GrantOptions, KeyVersion, Lifecycle, MultiKeyring, RewrapOptions, Suite,
    format::SlotFault, inspect, keyring::Refusal,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

const USUAL: RewrapOptions = RewrapOptions::new();

/// A slot that no version of the keyring made.
#[derive(Clone, Debug)]
struct Foreign {
    name: String,
    algorithm: u8,
    version: u32,
    id: [u8; 8],
    wrapped: Vec<u8>,
}

impl Foreign {
    fn to_bytes(&self) -> Vec<u8> {
        let wrapped_len = u16::try_from(self.wrapped.len()).unwrap();
        [
            &self.version.to_be_bytes()[..],
            &self.id,
            &[self.algorithm, self.name.len() as u8],
            &wrapped_len.to_be_bytes(),
            self.name.as_bytes(),
            &self.wrapped,
        ]
        .concat()
    }
}

/// Under another name, or under ours with other material; never of an algorithm of fixed length.
fn foreign() -> impl Strategy<Value = Foreign> {
    let names = prop_oneof!["[a-z][A-Za-z0-9._:/@+=-]{0,20}", Just("orders".to_owned())];
    let parts = (names, 4..=255_u8, 1..=5_u32, any::<[u8; 8]>(), vec(any::<u8>(), 1..120));
    parts.prop_map(|(name, algorithm, version, id, wrapped)| Foreign {
        name,
        algorithm,
        version,
        id,
        wrapped,
    })
}

fn suites() -> impl Strategy<Value = Suite> {
    select(Suite::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() })]

    /// SPEC R-CORE, R-KEEP, R-IDEMPOTENT, H-OPAQUE.
    #[test]
    fn rewrap_changes_its_own_slots_and_nothing_else(
        suite in suites(),
        plaintext in vec(any::<u8>(), 0..300),
        aad in vec(any::<u8>(), 0..40),
        foreign_slots in vec(foreign(), 0..6),
        places in vec(any::<Index>(), 3),
        mine in 1..8_u8,
        padding in 0..1_500_usize,
        cut in any::<Index>(),
        seed in any::<u64>(),
    ) {
        let keyring = keyring("orders", 4);
        let aad = Aad::new(&aad);
        let (message, by_version) = slots_by_version(&keyring, suite, &plaintext, aad);
        let foreign_slots: Vec<_> = foreign_slots.iter().map(Foreign::to_bytes).collect();
        let mut slots = foreign_slots.clone();
        // Any of versions 1, 2 and 4, in any position; 4 is the primary.
        for (bit, (version, index_of)) in [1, 2, 4].into_iter().zip(&places).enumerate() {
            if mine & (1 << bit) != 0 {
                slots.insert(index_of.index(slots.len() + 1), by_version[version - 1].clone());
            }
        }
        let header = compose(&message, &slots, padding);
        prop_assume!(inspect(&header).is_ok(), "two equal foreign slots");
        let body = &message[inspect(&message).unwrap().len()..];
        let whole = [&header, body].concat();

        let envelope = Envelope::new(&keyring);
        let rng = || ChaCha20Rng::seed_from_u64(seed);
        let rewrapped = envelope.with_rng(&mut rng()).rewrap(&whole, USUAL).unwrap();
        let new = rewrapped.header();
        prop_assert_eq!(new.len(), header.len());
        prop_assert_eq!(&new[..22], &header[..22]);
        let kept: Vec<_> =
            slots_of(new).into_iter().filter(|slot| foreign_slots.contains(slot)).collect();
        prop_assert_eq!(kept, foreign_slots.clone(), "foreign slots stay, in order");
        prop_assert_eq!(slots_of(new).len(), foreign_slots.len() + 1);
        // Version, master key id, algorithm, lengths and name; only nonce and wrap are fresh.
        let mut labels = slots_of(new).into_iter().map(|slot| slot[..slot.len().min(22)].to_vec());
        let fresh = labels.any(|label| label == by_version[3][..22]);
        prop_assert!(fresh);

        // The same from the header alone, from a cut message, and in place.
        let cut = &whole[..header.len() + cut.index(body.len() + 1)];
        for input in [&header[..], cut] {
            let again = envelope.with_rng(&mut rng()).rewrap(input, USUAL).unwrap();
            prop_assert_eq!(again.header(), new);
        }
        // SPEC R-OPENED: by a key that was opened before, the same by fewer calls.
        let key = envelope.open(&whole).unwrap();
        let by_key = envelope.with_rng(&mut rng()).rewrap(&whole, USUAL.opened(&key)).unwrap();
        prop_assert_eq!(by_key.header(), new);
        prop_assert_eq!(format!("{by_key:?}"), format!("{rewrapped:?}"));
        prop_assert_eq!(key.decrypt_detached(new, body, aad).unwrap(), plaintext.clone());
        let mut in_place = whole.clone();
        let changed = envelope.with_rng(&mut rng()).rewrap_in_place(&mut in_place, USUAL).unwrap().is_changed();
        prop_assert_eq!(changed, rewrapped.is_changed());
        prop_assert_eq!(&in_place, &[new, body].concat());

        prop_assert_eq!(envelope.decrypt(&in_place, aad).unwrap(), plaintext);
        let longer = [aad.as_bytes(), b"x"].concat();
        let other = envelope.decrypt(&in_place, Aad::new(&longer)).unwrap_err();
        prop_assert!(matches!(other, Error::Authentication { .. }), "{other:?}");

        let second = envelope.rewrap(&in_place, USUAL.retiring("orders", KeyVersion::FIRST)).unwrap();
        prop_assert!(!second.is_changed());
        prop_assert_eq!(second.header(), new);
        prop_assert_eq!(envelope.needs_rewrap(&whole).unwrap(), mine & 3 != 0);
        prop_assert!(!envelope.needs_rewrap(&in_place).unwrap());
    }

    /// SPEC R-WHOLE: a header that anyone changed is rewrapped to something that opens if it did
    /// before, or is left alone.
    #[test]
    fn changed_header_stays_as_readable_as_it_was(
        suite in suites(),
        foreign_slots in vec(foreign(), 0..3),
        order in Just(vec![1_usize, 2, 3]).prop_shuffle(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        retiring in 0..4_u32,
        trusting in any::<bool>(),
    ) {
        let keyring = keyring("orders", 3);
        let (message, by_version) = slots_by_version(&keyring, suite, b"payload", Aad::none());
        let mut slots: Vec<_> = foreign_slots.iter().map(Foreign::to_bytes).collect();
        slots.extend(order.iter().map(|version| by_version[version - 1].clone()));
        let header = compose(&message, &slots, 5);
        let body = &message[inspect(&message).unwrap().len()..];
        let mut changed = [&header, body].concat();
        for (index, byte) in changes {
            changed[index.index(header.len())] = byte;
        }
        let mut options = USUAL;
        if let Some(version) = KeyVersion::new(retiring) {
            options = options.retiring("orders", version);
        }
        let envelope = Envelope::new(&keyring);
        let opened = envelope.decrypt(&changed, Aad::none()).is_ok();
        let mut rewrapped = changed.clone();
        // `trusting_backend` waives the proof, not the rule that a failure writes nothing.
        let usual = envelope.rewrap_in_place(&mut rewrapped, options);
        if usual.is_err() {
            prop_assert_eq!(&rewrapped, &changed);
        }
        if opened {
            prop_assert_eq!(envelope.decrypt(&rewrapped, Aad::none()).unwrap(), b"payload");
        }
        if let Ok(key) = envelope.open(&[&header, body].concat()) {
            let mut by_key = changed.clone();
            if envelope.rewrap_in_place(&mut by_key, options.opened(&key)).is_err() {
                prop_assert_eq!(&by_key, &changed);
            }
            if opened {
                prop_assert_eq!(envelope.decrypt(&by_key, Aad::none()).unwrap(), b"payload");
            }
        }
        if trusting {
            let mut trusted = changed.clone();
            if envelope.rewrap_in_place(&mut trusted, options.trusting_backend()).is_err() {
                prop_assert_eq!(trusted, changed);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Encrypt,
    Rotate,
    Promote(Index),
    Disable(Index),
    Enable(Index),
    Rewrap(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Encrypt),
        2 => Just(Step::Rotate),
        1 => any::<Index>().prop_map(Step::Promote),
        2 => any::<Index>().prop_map(Step::Disable),
        1 => any::<Index>().prop_map(Step::Enable),
        4 => any::<Index>().prop_map(Step::Rewrap),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Default::default() })]

    /// Against a model that knows of each message only the version of its slot.
    #[test]
    fn message_opens_after_any_history_unless_disabled(steps in steps()) {
        let keyring = keyring("orders", 1);
        let envelope = Envelope::new(&keyring);
        let mut disabled = vec![false];
        let mut primary = 0;
        let mut messages: Vec<(Vec<u8>, usize)> = Vec::new();
        let version = |index: usize| KeyVersion::new(index as u32 + 1).unwrap();
        for step in steps {
            match step {
                Step::Encrypt => {
                    let number = messages.len().to_be_bytes();
                    messages.push((envelope.encrypt(&number, Aad::none()).unwrap(), primary));
                }
                Step::Rotate => {
                    keyring.rotate().unwrap();
                    primary = disabled.len();
                    disabled.push(false);
                }
                Step::Promote(index) => {
                    let index = index.index(disabled.len());
                    prop_assert_eq!(keyring.promote(version(index)).is_ok(), !disabled[index]);
                    primary = if disabled[index] { primary } else { index };
                }
                Step::Disable(index) => {
                    let index = index.index(disabled.len());
                    let allowed = !disabled[index] && index != primary;
                    prop_assert_eq!(keyring.disable(version(index)).is_ok(), allowed);
                    disabled[index] |= allowed;
                }
                Step::Enable(index) => {
                    let index = index.index(disabled.len());
                    prop_assert_eq!(keyring.enable(version(index)).is_ok(), disabled[index]);
                    disabled[index] = false;
                }
                Step::Rewrap(index) if !messages.is_empty() => {
                    let index = index.index(messages.len());
                    let (message, under) = &mut messages[index];
                    let stale = *under != primary;
                    prop_assert_eq!(envelope.needs_rewrap(message).unwrap(), stale);
                    let before = message.clone();
                    match envelope.rewrap_in_place(message, USUAL) {
                        Ok(report) => {
                            // A slot with the label of the primary counts as one.
                            prop_assert!(!disabled[*under]);
                            prop_assert_eq!(report.is_changed(), stale);
                            prop_assert_eq!(report.relied_on_labels(), !stale);
                            *under = primary;
                        }
                        Err(error) => {
                            prop_assert!(disabled[*under], "{:?}", error);
                            prop_assert_eq!(&*message, &before);
                        }
                    }
                }
                Step::Rewrap(_) => {}
            }
        }
        for (number, (message, under)) in messages.iter().enumerate() {
            match envelope.decrypt(message, Aad::none()) {
                Ok(plaintext) => {
                    prop_assert!(!disabled[*under]);
                    prop_assert_eq!(plaintext, number.to_be_bytes());
                }
                Err(Error::Refused { version: reported, refusal: Refusal::Disabled, .. }) => {
                    prop_assert!(disabled[*under]);
                    prop_assert_eq!(reported, version(*under));
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

/// A change of who can open a message, by the keyring of the first name.
#[derive(Clone, Copy, Debug)]
enum Change {
    Add(usize, usize),
    Remove(usize, usize),
    Damage(Index),
    PutBack(Index),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let name = || 0..NAMES.len();
    let change = prop_oneof![
        5 => (name(), name()).prop_map(|(from, to)| Change::Add(from, to)),
        3 => (name(), name()).prop_map(|(by, name)| Change::Remove(by, name)),
        1 => any::<Index>().prop_map(Change::Damage),
        1 => any::<Index>().prop_map(Change::PutBack),
    ];
    vec(change, 1..25)
}

/// A header as the model sees it: foreign slots by their index in the test, own slots by name, and
/// whether they are damaged.
#[derive(Clone, Debug, PartialEq)]
enum ModelSlot {
    ForeignSlot(usize),
    Own(usize, bool),
}

impl ModelSlot {
    fn opens(&self, name: usize) -> bool {
        *self == ModelSlot::Own(name, false)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Default::default() })]

    /// SPEC G-OPEN, G-ADD, G-REMOVE, R-CORE, R-WHOLE, against a model that knows of each slot whose
    /// it is and whether it opens. Any header of before opens as it did.
    #[test]
    fn message_opens_after_grants_as_modelled(
        suite in suites(),
        foreign_slots in vec(foreign(), 0..4),
        padding in 0..400_usize,
        changes in changes(),
    ) {
        let keyrings = NAMES.map(|name| Arc::new(keyring(name, 1)));
        let message = Envelope::new(&keyrings[0]).with_suite(suite).encrypt(b"payload", Aad::none()).unwrap();
        let body = &message[inspect(&message).unwrap().len()..];
        let foreign_slots: Vec<_> = foreign_slots.iter().map(Foreign::to_bytes).collect();
        let slots = [foreign_slots.clone(), slots_of(&message)].concat();
        let mut header = compose(&message, &slots, padding);
        prop_assume!(inspect(&header).is_ok(), "two equal foreign slots");
        prop_assume!(inspect(&header).unwrap().slots().filter(|slot| NAMES.contains(&slot.label.name.as_str())).count() == 1);
        let mut model: Vec<_> = (0..foreign_slots.len()).map(ModelSlot::ForeignSlot).collect();
        model.push(ModelSlot::Own(0, false));
        let mut before = vec![(header.clone(), model.clone())];
        for change in changes {
            let index_of = |name| model.iter().position(|slot_model| matches!(slot_model, ModelSlot::Own(own, _) if *own == name));
            let whole = [&header[..], body].concat();
            match change {
                Change::Add(from, to) => {
                    let envelope = Envelope::new(&keyrings[from]);
                    let added = envelope.add_slot(&whole, &keyrings[to], GrantOptions::new());
                    let opens = model.iter().any(|slot_model| slot_model.opens(from));
                    match (added, index_of(to)) {
                        (Ok(added), Some(at)) if model[at].opens(to) => {
                            prop_assert!(!added.is_changed());
                            prop_assert_eq!(added.header(), &header);
                        }
                        (Ok(added), at) => {
                            prop_assert!(opens && added.is_changed());
                            match at {
                                Some(at) => model[at] = ModelSlot::Own(to, false),
                                None => model.push(ModelSlot::Own(to, false)),
                            }
                            prop_assert!(added.header().len() >= header.len());
                            header = added.into_header();
                        }
                        (Err(Error::Slot(SlotFault::TooMany)), None) => prop_assert_eq!(model.len(), 16),
                        (Err(Error::Authentication { .. }), _) => {
                            prop_assert!(!opens && index_of(from).is_some());
                        }
                        (Err(Error::NoKey { .. }), _) => prop_assert_eq!(index_of(from), None),
                        (Err(other), _) => prop_assert!(false, "{:?}", other),
                    }
                }
                Change::Remove(by, name) => {
                    let envelope = Envelope::new(&keyrings[by]);
                    let removed = envelope.remove_name(&whole, NAMES[name]);
                    let stays = by != name && model.iter().any(|slot_model| slot_model.opens(by));
                    match removed {
                        Ok(removed) => {
                            prop_assert!(stays);
                            model.remove(index_of(name).unwrap());
                            prop_assert_eq!(removed.header().len(), header.len());
                            header = removed.into_header();
                        }
                        Err(Error::MissingSlot { .. }) => prop_assert_eq!(index_of(name), None),
                        Err(Error::LastSlot { .. }) => prop_assert!(!stays),
                        Err(other) => prop_assert!(false, "{:?}", other),
                    }
                }
                Change::Damage(index) => {
                    let at = index.index(model.len());
                    if let ModelSlot::Own(name, is_damaged) = model[at] {
                        let mut slots = slots_of(&header);
                        *slots[at].last_mut().unwrap() ^= 1;
                        header = compose(&header, &slots, inspect(&header).unwrap().padding_len());
                        model[at] = ModelSlot::Own(name, !is_damaged);
                    }
                }
                Change::PutBack(index) => (header, model) = before[index.index(before.len())].clone(),
            }
            before.push((header.clone(), model.clone()));
        }
        for (header, model) in before {
            prop_assert_eq!(&header[..22], &message[..22]);
            let slots = slots_of(&header);
            prop_assert_eq!(slots.len(), model.len());
            for (slot, slot_model) in slots.iter().zip(&model) {
                match slot_model {
                    ModelSlot::ForeignSlot(at) => prop_assert_eq!(slot, &foreign_slots[*at]),
                    ModelSlot::Own(name, _) => prop_assert_eq!(&slot[16..17], NAMES[*name].as_bytes()),
                }
            }
            for (name, keyring) in keyrings.iter().enumerate() {
                let opened = Envelope::new(keyring).decrypt_detached(&header, body, Aad::none());
                prop_assert_eq!(opened.is_ok_and(|opened| opened == b"payload"), model.iter().any(|slot_model| slot_model.opens(name)));
            }
            let mut all = MultiKeyring::new(keyrings[0].clone());
            for keyring in &keyrings[1..] {
                all = all.with(keyring.clone()).unwrap();
            }
            let all = Envelope::new(all);
            let examined = all.examine(&header).unwrap();
            for ((_, finding), slot_model) in examined.slots().zip(&model) {
                prop_assert_eq!(finding.is_opened(), matches!(slot_model, ModelSlot::Own(_, false)));
            }
            for (at, name) in NAMES.iter().enumerate() {
                let opens = model.iter().any(|slot_model| slot_model.opens(at));
                prop_assert_eq!(all.verify_slots(&header, &[name]).is_ok(), opens);
            }
        }
    }
}
