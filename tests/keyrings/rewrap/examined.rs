//! The findings about each slot without the body, and verification of slots by name.

use super::cases::scene;
use super::compose::{compose, keyring, slots_of};
use super::services::Services;
use super::{ROW, version};
use envelock::{
    DataKey, Envelope, Error, Keyring, Lifecycle, MemoryKeyring, MultiKeyring, SlotFinding,
    format::Slot,
    inspect,
    keyring::{KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};

/// The findings, in words.
fn found<K: Keyring>(keyring: K, header: &[u8]) -> String {
    let envelope = Envelope::new(keyring);
    let examined = envelope.examine(header).unwrap();
    assert_eq!(examined.slots().count(), inspect(header).unwrap().slots().count());
    assert_eq!(examined.header().as_bytes(), header);
    let opened: Vec<_> = examined.opened().collect();
    let labels = examined.slots().filter(|(_, finding)| finding.is_opened());
    assert_eq!(opened, labels.map(|(slot, _)| slot.label).collect::<Vec<_>>());
    let words = examined.slots().map(|(slot, finding)| {
        let what = match finding {
            SlotFinding::Opened => "opened".into(),
            SlotFinding::OtherDataKey => "other data key".into(),
            SlotFinding::NotOpened(KeyringError::NotMine) => "not mine".into(),
            SlotFinding::NotOpened(KeyringError::Authentication) => "not authentic".into(),
            SlotFinding::NotOpened(KeyringError::Refused(refusal)) => format!("{refusal:?}"),
            SlotFinding::NotOpened(KeyringError::Backend(_)) => "unavailable".into(),
            other => panic!("{other:?}"),
        };
        format!("{}{} {what}", slot.label.name, slot.label.version)
    });
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn each_slot_is_examined_whatever_the_others_are() {
    let scene = scene();
    for (header, expected) in [
        ("a2", "a2 opened"),
        ("a1, a2", "a1 opened, a2 opened"),
        (
            "x, a2 damaged, b9, a4, e2, b1",
            "x1 not mine, a2 not authentic, b9 Disabled, a4 opened, e2 not mine, b1 opened",
        ),
        ("b9, x", "b9 Disabled, x1 not mine"),
    ] {
        assert_eq!(found(&scene.keyring, &scene.padded(header, 7)), expected);
    }
    let mut unknown = scene.slot("a1");
    unknown[3] = 7;
    let header = compose(&scene.message, &[unknown, scene.slot("a2")], 0);
    assert_eq!(found(&scene.keyring, &header), "a7 UnknownVersion, a2 opened");
    let mut services = Services::new([("a", vec![40], 1), ("b", vec![40], 1)]);
    let message = Envelope::new(&services).encrypt(b"payload", ROW).unwrap();
    services.services[0].down = true;
    let header = &message[..inspect(&message).unwrap().len()];
    assert_eq!(found(&services, header), "a1 unavailable, b1 opened");
}

/// One change of a header of three slots changes what is found of that slot, and of no other.
#[test]
fn each_bit_of_wrapped_key_is_reported_by_slot() {
    let scene = scene();
    let whole = scene.padded("a2, e2, b2", 0);
    let both = MultiKeyring::new(scene.keyring.keyring.with_key("a").unwrap())
        .with(scene.keyring.keyring.with_key("b").unwrap())
        .unwrap()
        .with(scene.escrow.keyring.with_key("e").unwrap())
        .unwrap();
    let envelope = Envelope::new(&both);
    envelope.verify_slots(&whole, &["a", "e", "b"]).unwrap();
    let mut start = 25;
    for (index, slot) in slots_of(&whole).iter().enumerate() {
        for bit in 17 * 8..slot.len() * 8 {
            let mut changed = whole.clone();
            changed[start + bit / 8] ^= 1 << (bit % 8);
            let examined = envelope.examine(&changed).unwrap();
            for (at, (_, finding)) in examined.slots().enumerate() {
                assert_eq!(finding.is_opened(), at != index, "{at} {finding:?}");
            }
            let error = envelope.verify_slots(&changed, &["a", "e", "b"]).unwrap_err();
            assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
            let others: Vec<_> =
                ["a", "e", "b"].into_iter().enumerate().filter(|(at, _)| *at != index).collect();
            let others: Vec<_> = others.iter().map(|(_, name)| *name).collect();
            envelope.verify_slots(&changed, &others).unwrap();
        }
        start += slot.len();
    }
}

/// The first name of which no slot opens, and why.
#[test]
fn slot_of_each_name_is_demanded_by_opening_it() {
    let scene = scene();
    let envelope = Envelope::new(&scene.keyring);
    let verify =
        |header: &str, names: &[&str]| envelope.verify_slots(&scene.padded(header, 0), names);
    for (header, names) in [
        ("a2, b1, x", &["a", "b"][..]),
        ("a2 damaged, a1, b9, b2", &["b", "a", "b"]),
        ("a4", &["a"]),
        ("x", &[]),
    ] {
        verify(header, names).unwrap();
    }
    for name in ["b", "A", "", "aa"] {
        let error = verify("a2, x", &["a", name, "x"]).unwrap_err();
        assert!(matches!(error, Error::MissingSlot { key, .. } if key == name));
    }
    // The name of a slot that is there, and another keyring's: not the header's first.
    let error = verify("a2, e2, x", &["a", "e", "c"]).unwrap_err();
    assert!(
        matches!(&error, Error::NoKey { key, version, slots: 3, .. } if key == "e" && version.number() == 2),
        "{error:?}"
    );
    let error = verify("a2, b9, b1 damaged", &["a", "b"]).unwrap_err();
    assert!(
        matches!(&error, Error::Refused { key, refusal: Refusal::Disabled, .. } if key == "b"),
        "{error:?}"
    );
    let error = verify("a2, b1 damaged", &["a", "b"]).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }));
}

/// Unwraps everything to a key of its own.
struct WrongDataKey(MemoryKeyring);

impl Keyring for WrongDataKey {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        _: &Slot<'_>,
        _: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        assert!(data_key.set(&[7; 32]));
        Ok(())
    }
}

/// SPEC K-CHECK, whatever the keyring says.
#[test]
fn key_that_is_not_the_messages_has_not_opened() {
    let wrong = WrongDataKey(keyring("orders", 1));
    let message = Envelope::new(&wrong).encrypt(b"payload", ROW).unwrap();
    let header = &message[..inspect(&message).unwrap().len()];
    assert_eq!(found(&wrong, header), "orders1 other data key");
    let error = Envelope::new(&wrong).verify_slots(header, &["orders"]).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }));
}

/// Two keyrings, each with a version 1 of one name: what the version alone does not distinguish.
#[test]
fn index_bytes_distinguish_keys_of_one_version() {
    let (old, new) = (keyring("orders", 1), MemoryKeyring::create("orders").unwrap());
    let message = Envelope::new(&old).encrypt(b"payload", ROW).unwrap();
    let index = envelock::keyring::primary_index_bytes(&old).unwrap();
    assert_eq!(message[25..37], index);
    assert_eq!(inspect(&message).unwrap().slots().next().unwrap().label.index_bytes(), index);
    assert_eq!(old.versions()[0].index_bytes(), index);
    let other = envelock::keyring::primary_index_bytes(&new).unwrap();
    assert!(index[..4] == other[..4] && index != other);
    // Each version that is not the primary is listed; a rollback makes the higher one stale.
    new.rotate().unwrap();
    let second = envelock::keyring::primary_index_bytes(&new).unwrap();
    assert!(second > other);
    new.promote(version(1)).unwrap();
    assert_eq!(envelock::keyring::primary_index_bytes(&new).unwrap(), other);
    let several = MultiKeyring::new(old).with(new).unwrap();
    assert_eq!(envelock::keyring::primary_index_bytes(&several).unwrap(), index);
}
