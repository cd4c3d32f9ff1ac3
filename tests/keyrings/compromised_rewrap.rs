//! A version that is marked compromised is rewrapped only where it is named, and otherwise nothing
//! is: no operator must believe that a rewrap has mended a message (SPEC R-COMPROMISED).

use crate::common::detached::WriteDetached;
use envelock::{
    Aad, DataKey, Envelope, Error, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring,
    RewrapOptions, SlotLabel, Suite,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const ROW: Aad<'static> = Aad::new(b"row");
const PLAINTEXT: &[u8] = b"payload";
const USUAL: RewrapOptions = RewrapOptions::new();

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// Two named keys, some versions of which are marked; counts what reaches the backend.
struct Marked {
    rings: Vec<MemoryKeyring>,
    marked: Mutex<Vec<(String, u32)>>,
    strict: AtomicBool,
    rewraps: AtomicUsize,
}

impl Marked {
    fn new(rings: Vec<MemoryKeyring>) -> Self {
        let (marked, strict, rewraps) = Default::default();
        Marked { rings, marked, strict, rewraps }
    }

    fn mark(&self, name: &str, version: u32) {
        self.marked.lock().unwrap().push((name.into(), version));
    }

    fn is_marked(&self, label: &SlotLabel<'_>) -> bool {
        let key = (label.name.as_str().to_owned(), label.version.number());
        self.marked.lock().unwrap().contains(&key)
    }

    fn ring(&self, label: &SlotLabel<'_>) -> Result<&MemoryKeyring, KeyringError> {
        let knows = |ring: &&MemoryKeyring| {
            ring.freshness(label).is_ok_and(|freshness| freshness != Freshness::NotMine)
        };
        self.rings.iter().find(knows).ok_or(KeyringError::NotMine)
    }
}

impl Keyring for Marked {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.rings.iter().try_for_each(|ring| ring.visit_primaries(visit))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.rings.iter().try_for_each(|ring| ring.wrap(data_key, context, slots, rng))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        if self.strict.load(Relaxed) && self.is_marked(&slot.label) {
            return Err(KeyringError::Refused(Refusal::Compromised));
        }
        self.ring(&slot.label)?.unwrap(slot, context, data_key)
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.rewraps.fetch_add(1, Relaxed);
        let mut data_key = DataKey::empty();
        self.unwrap(slot, context, &mut data_key)?;
        context.verify(&data_key)?;
        self.ring(&slot.label)?.wrap(&data_key, context, slots, rng)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let freshness = match self.ring(label) {
            Ok(ring) => ring.freshness(label)?,
            Err(_) => Freshness::NotMine,
        };
        Ok(match freshness {
            Freshness::Stale if self.is_marked(label) && self.strict.load(Relaxed) => {
                Freshness::Refused(Refusal::Compromised)
            }
            Freshness::Stale if self.is_marked(label) => Freshness::Compromised,
            other => other,
        })
    }
}

fn ring(name: &str, first_byte: u8) -> MemoryKeyring {
    MemoryKeyring::import(name, KeyVersion::FIRST, &MasterKey::from_bytes(&[first_byte; 32]))
        .unwrap()
}

/// One name, the message under version 1, the primary version 2, and version 1 marked.
fn marked(suite: Suite) -> (Marked, Vec<u8>) {
    let keyring = Marked::new(vec![ring("orders", 1)]);
    let message = Envelope::new(&keyring).with_suite(suite).encrypt(PLAINTEXT, ROW).unwrap();
    keyring.rings[0].rotate().unwrap();
    keyring.mark("orders", 1);
    (keyring, message)
}

/// Both forms fail alike, and leave the message alone (SPEC R-WHOLE).
fn assert_refused(keyring: &Marked, message: &[u8], options: RewrapOptions, named: (&str, u32)) {
    let envelope = Envelope::new(keyring);
    let mut copy = message.to_vec();
    let in_place = envelope.rewrap_in_place(&mut copy, options).unwrap_err();
    assert_eq!(copy, message);
    let to_new = envelope.rewrap(message, options).unwrap_err();
    for error in [in_place, to_new] {
        assert!(!error.is_retryable());
        let Error::Refused { key, version, refusal: Refusal::Compromised, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((key.as_str(), version.number()), named);
    }
}

fn versions_of(header: &[u8]) -> Vec<(String, u32)> {
    let label = |slot: Slot<'_>| (slot.label.name.as_str().into(), slot.label.version.number());
    inspect(header).unwrap().slots().map(label).collect()
}

#[test]
fn unnamed_compromised_version_opens_and_stays() {
    for &suite in Suite::ALL {
        let (keyring, message) = marked(suite);
        let envelope = Envelope::new(&keyring);
        assert!(envelope.needs_rewrap(&message).unwrap());
        assert_refused(&keyring, &message, USUAL, ("orders", 1));
        assert_refused(&keyring, &message, USUAL.trusting_backend(), ("orders", 1));
        let retiring = USUAL.retiring("orders", KeyVersion::FIRST);
        assert_refused(&keyring, &message, retiring, ("orders", 1));
        assert_eq!(keyring.rewraps.load(Relaxed), 0, "the backend was asked");
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    }
}

#[test]
fn named_compromised_version_is_rewrapped() {
    for &suite in Suite::ALL {
        let (keyring, message) = marked(suite);
        let envelope = Envelope::new(&keyring);
        let named = USUAL.from_compromised("orders", version(1));
        for options in [named, named.retiring("orders", version(1)), named.trusting_backend()] {
            let mut copy = message.clone();
            assert!(envelope.rewrap_in_place(&mut copy, options).unwrap().is_changed());
            assert_eq!(versions_of(&copy), [("orders".into(), 2)]);
            assert!(!envelope.needs_rewrap(&copy).unwrap());
            assert_eq!(envelope.decrypt(&copy, ROW).unwrap(), PLAINTEXT);
            // Nothing is left to be named.
            assert!(!envelope.rewrap_in_place(&mut copy, USUAL).unwrap().is_changed());
        }
    }
}

/// One change to what is named, and it is another version's permission.
#[test]
fn another_name_or_version_is_no_permission() {
    let (keyring, message) = marked(Suite::default());
    for (name, number) in [("orders", 2), ("orders", 11), ("Orders", 1), ("order", 1), ("", 1)] {
        let options = USUAL.from_compromised(name, version(number));
        assert_refused(&keyring, &message, options, ("orders", 1));
    }
}

/// A version that is named and not marked is rewrapped as ever.
#[test]
fn naming_a_sound_version_changes_nothing() {
    let (keyring, message) = marked(Suite::default());
    keyring.marked.lock().unwrap().clear();
    let options = USUAL.from_compromised("orders", version(1));
    let header = Envelope::new(&keyring).rewrap(&message, options).unwrap();
    assert_eq!(versions_of(header.header()), [("orders".into(), 2)]);
}

fn two_names() -> (Marked, Vec<u8>) {
    let keyring = Marked::new(vec![ring("orders", 1), ring("backup", 2)]);
    let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
    for ring in &keyring.rings {
        ring.rotate().unwrap();
    }
    (keyring, message)
}

/// One compromised slot stops the rewrap of every other, whichever comes first.
#[test]
fn slot_of_another_name_is_not_rewrapped() {
    for (compromised, other) in [("orders", "backup"), ("backup", "orders")] {
        let (keyring, message) = two_names();
        keyring.mark(compromised, 1);
        assert_refused(&keyring, &message, USUAL, (compromised, 1));
        let wrong = USUAL.from_compromised(other, version(1));
        assert_refused(&keyring, &message, wrong, (compromised, 1));
        let named = USUAL.from_compromised(compromised, version(1));
        let rewrapped = Envelope::new(&keyring).rewrap(&message, named).unwrap();
        let both = [("orders".into(), 2), ("backup".into(), 2)];
        assert_eq!(versions_of(rewrapped.header()), both);
    }
}

#[test]
fn several_compromised_versions_are_named_one_by_one() {
    let (keyring, message) = two_names();
    keyring.mark("orders", 1);
    keyring.mark("backup", 1);
    let first = USUAL.from_compromised("orders", version(1));
    assert_refused(&keyring, &message, first, ("backup", 1));
    let both = first.from_compromised("backup", version(1));
    let rewrapped = Envelope::new(&keyring).rewrap(&message, both).unwrap();
    assert!(!Envelope::new(&keyring).needs_rewrap(rewrapped.header()).unwrap());
}

/// The limit at 15, 16 and 17 names: what is beyond it stays refused, exactly.
#[test]
fn sixteen_versions_can_be_named() {
    let names: Vec<String> = (0..16).map(|number| format!("other{number}")).collect();
    for before in [14, 15, 16] {
        let (keyring, message) = marked(Suite::default());
        let mut options = USUAL;
        for name in &names[..before] {
            options = options.from_compromised(name, version(1));
        }
        options = options.from_compromised("orders", version(1));
        if before == 16 {
            assert_refused(&keyring, &message, options, ("orders", 1));
        } else {
            assert!(Envelope::new(&keyring).rewrap(&message, options).unwrap().is_changed());
        }
    }
}

/// Two slots of one name, of which the compromised one came second.
#[test]
fn slot_under_primary_does_not_excuse_compromised_one() {
    let (keyring, message) = marked(Suite::default());
    let envelope = Envelope::new(&keyring);
    let named = USUAL.from_compromised("orders", version(1));
    let rewrapped = envelope.rewrap(&message, named).unwrap();
    let old = &message[25..inspect(&message).unwrap().len()];
    for old_first in [true, false] {
        let new = &rewrapped.header()[25..];
        let mut header = message[..25].to_vec();
        let slots = if old_first { [old, new] } else { [new, old] };
        header.extend(slots.concat());
        let len = u16::try_from(header.len()).unwrap();
        header[22..24].copy_from_slice(&len.to_be_bytes());
        header[24] = 2;
        assert_refused(&keyring, &header, USUAL, ("orders", 1));
        let merged = envelope.rewrap(&header, named).unwrap();
        assert_eq!(versions_of(merged.header()), [("orders".into(), 2)]);
        // Where the keyring refuses it, it stays, as whatever does not open (SPEC R-KEEP).
        keyring.strict.store(true, Relaxed);
        assert!(!envelope.rewrap(&header, USUAL).unwrap().is_changed());
        assert!(!envelope.rewrap(&header, named).unwrap().is_changed());
        assert!(!envelope.needs_rewrap(&header).unwrap());
        keyring.strict.store(false, Relaxed);
    }
}

/// A strict keyring does not open compromised versions, even if they are named.
#[test]
fn strict_keyring_refuses_a_named_version_too() {
    let (keyring, message) = marked(Suite::default());
    keyring.strict.store(true, Relaxed);
    let envelope = Envelope::new(&keyring);
    assert!(envelope.needs_rewrap(&message).unwrap());
    assert!(matches!(
        envelope.decrypt(&message, ROW),
        Err(Error::Refused { refusal: Refusal::Compromised, .. })
    ));
    assert_refused(&keyring, &message, USUAL, ("orders", 1));
    let named = USUAL.from_compromised("orders", version(1));
    assert_refused(&keyring, &message, named, ("orders", 1));
}
