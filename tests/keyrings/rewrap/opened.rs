//! A rewrap by an opened key (SPEC R-OPENED): what it saves, and what it leaves as it is.

use super::compose::{compose, keyring, slots_by_version, slots_of};
use super::{ROW, USUAL, rewrap, version, versions_of};
use crate::common::detached::ReadDetached;
use envelock::test_access::errors;
use envelock::{
    DataKey, Envelope, Error, FailoverKeyring, KeyName, Keyring, Lifecycle, MemoryKeyring,
    MigratingKeyring, MultiKeyring, OpenedKey, RewrapReport, SlotLabel, SlotOutcome, Suite,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::{Arc, Mutex};

/// Notes which wraps and unwraps reach the backend.
struct Noted {
    keyring: MultiKeyring,
    calls: Mutex<Vec<String>>,
}

impl Noted {
    fn note(&self, call: &str, name: KeyName<'_>) {
        self.calls.lock().unwrap().push(format!("{call} {name}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Keyring for Noted {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.keyring.wrap(data_key, context, slots, rng)
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.note("wrap", name);
        self.keyring.wrap_under(name, data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.note("unwrap", slot.label.name);
        self.keyring.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot)
    }
}

/// The effect of a rewrap of `header` by `key`, its result, and its calls.
fn by_key(
    keyring: &Noted,
    header: &[u8],
    key: Option<&OpenedKey>,
) -> (Vec<u8>, RewrapReport, Vec<String>) {
    let options = key.map_or(USUAL, |key| USUAL.opened(key));
    keyring.take();
    let (header, report) = Envelope::new(keyring).rewrap(header, options).unwrap().into_parts();
    (header, report, keyring.take())
}

#[test]
fn rewrap_by_opened_key_wraps_under_its_name_only() {
    for &suite in Suite::ALL {
        let both = MultiKeyring::new(keyring("orders", 1)).with(keyring("backup", 1)).unwrap();
        let message = Envelope::new(both).with_suite(suite).encrypt(b"payload", ROW).unwrap();
        for name in ["orders", "backup"] {
            let (orders, backup) = (keyring("orders", 2), keyring("backup", 2));
            let key = Envelope::new(if name == "orders" { &orders } else { &backup });
            let key = key.open(&message).unwrap();
            assert_eq!(key.label().name.as_str(), name);
            let both = MultiKeyring::new(orders).with(backup).unwrap();
            let noted = Noted { keyring: both, calls: Mutex::default() };
            let (_, usual, calls) = by_key(&noted, &message, None);
            let each = |name| ["unwrap", "wrap", "unwrap"].map(|call| format!("{call} {name}"));
            assert_eq!(calls, [each("orders"), each("backup")].concat());
            // The proof of the new slot alone; the slot of the other name as without a key.
            let (new, report, calls) = by_key(&noted, &message, Some(&key));
            let mut saved = [each("orders"), each("backup")].concat();
            saved.remove(if name == "orders" { 0 } else { 3 });
            assert_eq!(calls, saved, "{name}");
            assert_eq!(format!("{report:?}"), format!("{usual:?}"));
            assert_eq!(versions_of(&new), [2, 2]);
            // The new header lacks the old slot, and the opened key saves no call there.
            let (again, report, calls) = by_key(&noted, &new, Some(&key));
            assert!(again == new && report.relied_on_labels() && calls.is_empty());
            let body = &message[inspect(&message).unwrap().len()..];
            let opened = Envelope::new(&noted).decrypt_detached(&new, body, ROW).unwrap();
            assert_eq!(opened, b"payload");
            assert_eq!(key.decrypt_detached(&new, body, ROW).unwrap(), b"payload");
        }
    }
}

#[test]
fn rewrap_by_key_of_another_message_is_refused() {
    let keyring = keyring("orders", 2);
    let envelope = Envelope::new(&keyring);
    let (one, other) = (envelope.encrypt(b"1", ROW).unwrap(), envelope.encrypt(b"2", ROW).unwrap());
    let key = envelope.open(&one).unwrap();
    let (opened, found) = (key.data_key_id(), inspect(&other).unwrap().data_key_id());
    assert_ne!(opened, found);
    let expected = format!("{:?}", errors::other_message(opened, found));
    let refused = rewrap(&keyring, &other, USUAL.opened(&key)).unwrap_err();
    assert_eq!(format!("{refused:?}"), expected);
    let refused = rewrap(&keyring, &other, USUAL.trusting_backend().opened(&key)).unwrap_err();
    assert_eq!(format!("{refused:?}"), expected);
}

/// A label is a claim: what counts as opened is the very slot, and no other of its label.
#[test]
fn slot_changed_since_open_is_unwrapped_again() {
    let keyring = keyring("orders", 3);
    let (message, by_version) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    let header = compose(&message, &by_version[..1], 0);
    let key = Envelope::new(&keyring).open(&header).unwrap();
    let mut damaged = header.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let refused = rewrap(&keyring, &damaged, USUAL.opened(&key)).unwrap_err();
    assert!(matches!(refused, Error::Authentication { .. }), "{refused:?}");
    // Beside one that opens by itself it is left, as ever.
    let damaged = [slots_of(&damaged), by_version[1..2].to_vec()].concat();
    let damaged = compose(&message, &damaged, 0);
    let rewrapped = Envelope::new(&keyring).rewrap(&damaged, USUAL.opened(&key)).unwrap();
    use SlotOutcome::{NotVerified, Rewrapped};
    assert!(matches!(rewrapped.report().slots(), [NotVerified, Rewrapped]));
    assert_eq!(slots_of(rewrapped.header())[0], slots_of(&damaged)[0]);
    // The slot it came from is renewed by it, and the other of its name merges into that.
    let both = compose(&message, &by_version[..2], 0);
    let rewrapped = Envelope::new(&keyring).rewrap(&both, USUAL.opened(&key)).unwrap();
    assert!(matches!(rewrapped.report().slots(), [Rewrapped, SlotOutcome::Merged]));
}

/// A key in hand is no way around the state of its version.
#[test]
fn rewrap_by_opened_key_obeys_its_version_state() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"payload", ROW).unwrap();
    let key = envelope.open(&message).unwrap();
    keyring.rotate().unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    let options = USUAL.opened(&key);
    let refused = |refusal| {
        let error = rewrap(&keyring, &message, options).unwrap_err();
        let is_it = matches!(&error, Error::Refused { refusal: found, .. } if *found == refusal);
        assert!(is_it, "{error:?}");
    };
    refused(Refusal::Compromised);
    let named = rewrap(&keyring, &message, options.from_compromised("orders", version(1)));
    assert_eq!(versions_of(&named.unwrap()), [2]);
    keyring.disable(version(1)).unwrap();
    refused(Refusal::Disabled);
    assert_eq!(key.decrypt(key.body(&message).unwrap(), ROW).unwrap(), b"payload");
}

/// Of several keyrings of one name, that of the slot wraps: no other's slot replaces it.
#[test]
fn rewrap_by_opened_key_stays_with_owner_of_slot() {
    let create = || Arc::new(MemoryKeyring::create("orders").unwrap());
    let (near, far, new) = (create(), create(), create());
    let both = || MultiKeyring::new(near.clone()).with(far.clone()).unwrap();
    let (several, one) = (Envelope::new(both()), Envelope::new(&far));
    let (several, one) = (several.encrypt(b"2", ROW).unwrap(), one.encrypt(b"1", ROW).unwrap());
    near.rotate().unwrap();
    far.rotate().unwrap();
    let failover = || FailoverKeyring::new(near.clone()).with(far.clone()).unwrap();
    let migrating = || MigratingKeyring::new(keyring("else", 1)).with(both()).unwrap();
    let combined: [Box<dyn Keyring>; 3] =
        [Box::new(both()), Box::new(failover()), Box::new(migrating())];
    for combined in combined {
        for (message, owners) in [(&several, 2), (&one, 1)] {
            let key = Envelope::new(&far).open(message).unwrap();
            let new = rewrap(&combined, message, USUAL.opened(&key)).unwrap();
            assert_eq!(versions_of(&new), vec![2; owners]);
            assert!(Envelope::new(&far).open(&new).is_ok());
            assert_eq!(Envelope::new(&near).open(&new).is_ok(), owners == 2);
        }
    }
    // A migration takes it all the same.
    let moving = MigratingKeyring::new(new.clone()).with(both()).unwrap();
    let key = Envelope::new(&far).open(&one).unwrap();
    let moved = rewrap(&moving, &one, USUAL.opened(&key)).unwrap();
    assert!(Envelope::new(&new).open(&moved).is_ok());
}

/// Another keyring of the name, of lower versions: what it does not know may be another's.
#[test]
fn key_of_another_keyring_moves_no_slot() {
    let theirs = keyring("orders", 2);
    let ours = MemoryKeyring::create("orders").unwrap();
    let message = Envelope::new(&theirs).encrypt(b"payload", ROW).unwrap();
    let key = Envelope::new(&theirs).open(&message).unwrap();
    let unknown = Refusal::UnknownVersion;
    let refused = rewrap(&ours, &message, USUAL.opened(&key)).unwrap_err();
    let is_it = matches!(&refused, Error::Refused { refusal, .. } if *refusal == unknown);
    assert!(is_it, "{refused:?}");
}
