//! Calls by name: every keyring reports the keys that it has, whichever it encrypts under now.

use super::combine::{PLAINTEXT, ROW, label, labels, version};
use super::{MigratingKeyring, USUAL};
use crate::common::detached::WriteDetached;
use crate::common::directory::TestDirectory;
use envelock::conformance::FaultyKeyring;
use envelock::keyset::LifecycleError;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    CachingKeyring, DataKey, Envelope, Error, FileKeyring, KeyName, Keyring, Lifecycle, MasterKey,
    MasterKeyId, MemoryKeyring, MultiKeyring, SlotLabel,
    file::{Protection, ReadOnlyFileKeyring},
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
    keyset::Change,
    observe::{FnObserver, ObservedKeyring},
};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

fn holds_keys(keyring: &dyn Keyring, name: &str) -> Vec<String> {
    let mut holds_keys = Vec::new();
    let mut visit = |key: KeyName<'_>| holds_keys.push(key.as_str().to_owned());
    keyring.holds(KeyName::new(name).unwrap(), &mut visit).unwrap();
    holds_keys
}

/// Encrypts under a key by its name.
struct Under<'k>(&'k dyn Keyring, &'k str);

impl Keyring for Under<'_> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let name = KeyName::new(self.1).unwrap();
        let algorithm = WrapAlgorithm::XAES_256_GCM;
        let label =
            SlotLabel { name, version: version(1), master_key_id: MasterKeyId([0; 8]), algorithm };
        visit(&PrimaryKey { label, max_wrapped_key_len: None });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap_under(KeyName::new(self.1).unwrap(), data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.0.unwrap(slot, context, data_key)
    }
}

fn message_under(keyring: &dyn Keyring, name: &str) -> Result<Vec<u8>, Error> {
    Envelope::new(Under(keyring, name)).encrypt(PLAINTEXT, ROW)
}

/// Keys `a` (version 1) and `b` (version 2), and `current`, which stands for `b`; `a` is selected.
fn fill(keyring: &impl Lifecycle) {
    keyring.create_key("b").unwrap();
    keyring.change_now(Change::Rotate { key: "b" }).unwrap();
    keyring.set_alias("current", "b").unwrap();
}

fn check_names(keyring: &dyn Keyring) {
    for (name, keys) in [("a", &["a"][..]), ("b", &["b"]), ("current", &["b"]), ("c", &[])] {
        assert_eq!(holds_keys(keyring, name), keys, "{name}");
    }
    for (name, number) in [("a", 1), ("b", 2)] {
        let message = message_under(keyring, name).unwrap();
        assert_eq!(labels(&message), [label(name, number)]);
        let envelope = Envelope::new(keyring);
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        // A slot under a key that is not selected is compared with that key's own primary.
        assert!(!envelope.needs_rewrap(&message).unwrap());
    }
    // A slot never has the name of an alias.
    for name in ["current", "c"] {
        let error = message_under(keyring, name).unwrap_err();
        assert!(
            matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == name),
            "{error:?}"
        );
    }
}

#[test]
fn every_keyring_reports_by_name_all_it_has() {
    let memory = Arc::new(MemoryKeyring::create("a").unwrap());
    fill(&*memory);
    check_names(&*memory);
    check_names(&memory);
    check_names(&&memory);
    check_names(&(Box::new(memory.clone()) as Box<dyn Keyring>));
    check_names(&MultiKeyring::new(memory.clone()));
    check_names(&MigratingKeyring::new(memory.clone()));
    check_names(&CachingKeyring::new(memory.clone()));
    let deaf = FnObserver::new(|_: &envelock::observe::Event<'_>| {});
    check_names(&ObservedKeyring::new(memory.clone(), deaf));
    check_names(&FaultyKeyring::new(memory.clone()));

    let directory = TestDirectory::new();
    let path = directory.join("keys");
    let protection = Protection::raw_key(MasterKey::from_bytes(&[7; 32]));
    let file = FileKeyring::create(&path, "a", &protection).unwrap();
    fill(&file);
    check_names(&file);
    check_names(&FileKeyring::open(&path, "a", &protection).unwrap());
    check_names(&ReadOnlyFileKeyring::open(&path, "a", &protection).unwrap());
    // A keyring without a selected key still holds all of them.
    let unselected = FileKeyring::open_any(&path, &protection).unwrap();
    assert_eq!(holds_keys(&unselected, "b"), ["b"]);
    assert_eq!(labels(&message_under(&unselected, "b").unwrap()), [label("b", 2)]);
}

#[test]
fn keyring_of_one_key_alone_does_not_hold_the_others() {
    let keyring = MemoryKeyring::create("a").unwrap();
    fill(&keyring);
    for only in ["b", "current"] {
        let one = keyring.only_key(only).unwrap();
        assert_eq!(holds_keys(&one, "b"), ["b"]);
        assert_eq!(holds_keys(&one, "current"), ["b"]);
        assert_eq!(holds_keys(&one, "a"), [""; 0]);
        let error = message_under(&one, "a").unwrap_err();
        assert!(
            matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == "a"),
            "{error:?}"
        );
    }
}

/// A keyring that knows nothing of names but what it writes.
struct Custom(Vec<MemoryKeyring>);

impl Keyring for Custom {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.iter().try_for_each(|ring| ring.visit_primaries(visit))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.iter().try_for_each(|ring| ring.wrap(data_key, context, slots, rng))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let mut answers = self.0.iter().map(|ring| ring.unwrap(slot, context, data_key));
        answers.find(|answer| answer.is_ok()).unwrap_or(Err(KeyringError::NotMine))
    }
}

/// The provided methods go by what is written, and are exact for each name of it.
#[test]
fn custom_keyring_opens_its_own_wraps() {
    let rings = ["a", "b", "a"].map(|name| MemoryKeyring::create(name).unwrap());
    let custom = Custom(rings.into());
    for name in ["a", "b"] {
        assert_eq!(holds_keys(&custom, name), [name]);
        let message = message_under(&custom, name).unwrap();
        assert_eq!(labels(&message), [label(name, 1)], "the first of the name, and it alone");
    }
    assert_eq!(holds_keys(&custom, "c"), [""; 0]);
    let error = message_under(&custom, "c").unwrap_err();
    assert!(
        matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == "c"),
        "{error:?}"
    );
    let error = message_under(&Custom(Vec::new()), "c").unwrap_err();
    assert!(matches!(&error, Error::Slot(envelock::format::SlotFault::None)), "{error:?}");
    // A rewrap of one name of several needs no method of the keyring's own.
    let message = Envelope::new(&custom.0[1]).encrypt(PLAINTEXT, ROW).unwrap();
    custom.0[1].rotate().unwrap();
    let rewrapped = Envelope::new(&custom).rewrap(&message, USUAL).unwrap();
    assert_eq!(labels(rewrapped.header()), [label("b", 2)]);
}

/// A file of several keys moves whole: what the first holds is asked, not what it encrypts under.
#[test]
fn file_of_several_keys_is_moved_whole() {
    let directory = TestDirectory::new();
    let protection = Protection::raw_key(MasterKey::from_bytes(&[7; 32]));
    let [old, new] = ["old", "new"].map(|file| {
        let keyring = FileKeyring::create(directory.join(file), "a", &protection).unwrap();
        keyring.create_key("b").unwrap();
        keyring
    });
    let messages = ["a", "b"].map(|name| {
        let keyring = old.with_key(name).unwrap();
        Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap()
    });
    let old = old.with_key("a").unwrap();
    let moving =
        Envelope::new(MigratingKeyring::new(new.with_key("a").unwrap()).with(old).unwrap());
    for message in messages {
        assert!(moving.needs_rewrap(&message).unwrap());
        let mut moved = message;
        assert!(moving.rewrap_in_place(&mut moved, USUAL).unwrap().is_changed());
        assert!(!moving.needs_rewrap(&moved).unwrap());
        assert_eq!(Envelope::new(&new).decrypt(&moved, ROW).unwrap(), PLAINTEXT);
    }
}

/// SPEC R-NAME: an alias of the first's that has the name of an old key takes nothing over.
#[test]
fn alias_of_the_first_takes_no_slot_over() {
    let (new, old) = (MemoryKeyring::create("b").unwrap(), MemoryKeyring::create("a").unwrap());
    new.set_alias("a", "b").unwrap();
    let (new, old) = (Arc::new(new), Arc::new(old));
    let message = Envelope::new(&old).encrypt(PLAINTEXT, ROW).unwrap();
    let moving = Envelope::new(MigratingKeyring::new(new).with(old.clone()).unwrap());
    assert!(!moving.needs_rewrap(&message).unwrap());
    old.rotate().unwrap();
    let rewrapped = moving.rewrap(&message, USUAL).unwrap();
    assert_eq!(labels(rewrapped.header()), [label("a", 2)]);
}

/// Random members with random names and versions, against what each holds.
#[test]
fn random_members_move_as_modelled() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    for seed in 0..40 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let members: Vec<Arc<MemoryKeyring>> = (0..1 + rng.next_u32() % 3)
            .map(|_| {
                let picked = 1 + rng.next_u32() % 15;
                let bit = |at: usize| picked >> at & 1 == 1;
                let mut names = (0..4).filter(|at| bit(*at)).map(|at| NAMES[at]);
                let keyring = MemoryKeyring::create(names.next().unwrap()).unwrap();
                names.for_each(|name| drop(keyring.create_key(name).unwrap()));
                Arc::new(keyring)
            })
            .collect();
        let holds = |member: &MemoryKeyring, name: &str| !holds_keys(member, name).is_empty();
        let combined = |mut members: std::slice::Iter<'_, Arc<MemoryKeyring>>| {
            let first = MigratingKeyring::new(members.next().unwrap().clone());
            members.fold(first, |all, member| all.with(member.clone()).unwrap())
        };
        let moving = combined(members.iter());
        for name in NAMES {
            let owners: Vec<_> = members.iter().filter(|member| holds(member, name)).collect();
            assert_eq!(holds_keys(&moving, name), vec![name; owners.len()], "seed {seed}");
            let Some(pick) = rng.next_u32().checked_rem(owners.len() as u32) else {
                assert!(message_under(&moving, name).is_err(), "seed {seed}");
                continue;
            };
            let owner = owners[pick as usize];
            let message = message_under(owner, name).unwrap();
            let is_rotated = rng.next_u32() % 2 == 0;
            if is_rotated {
                owner.change_now(Change::Rotate { key: name }).unwrap();
            }
            // The first that holds the name takes over; else its owner keeps it.
            let target = if holds(&members[0], name) { &members[0] } else { owner };
            let is_due = is_rotated || !Arc::ptr_eq(target, owner);
            let envelope = Envelope::new(&moving);
            assert_eq!(envelope.needs_rewrap(&message).unwrap(), is_due, "seed {seed} {name}");
            let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
            assert_eq!(rewrapped.is_changed(), is_due, "seed {seed} {name}");
            assert!(!Envelope::new(target).needs_rewrap(rewrapped.header()).unwrap());
            // By name, the first member that holds it wraps.
            let message = message_under(&moving, name).unwrap();
            assert_eq!(Envelope::new(owners[0]).decrypt(&message, ROW).unwrap(), PLAINTEXT);
        }
    }
}
