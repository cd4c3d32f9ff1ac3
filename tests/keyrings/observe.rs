//! An observer sees exactly what a keyring did: in order, once, with key and version, and no
//! secret (THREATS 48 and 72).

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod allocations;
mod changes;
mod failures;
mod recorder;
pub mod secrets;
mod toy;

use crate::common::detached::WriteDetached;
use envelock::rand_core::SeedableRng;
use envelock::{format::*, keyring::*, keyset::*, observe::*, *};
use rand_chacha::ChaCha20Rng;
use recorder::{REFUSALS, Recorder};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use toy::{Both, Toy};

type Observed = ObservedKeyring<MemoryKeyring, Recorder>;

fn observed() -> Observed {
    ObservedKeyring::new(MemoryKeyring::create("orders").unwrap(), Recorder::default())
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn encrypt(keyring: &impl Keyring) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).encrypt(b"payload", Aad::new(b"row"))
}

fn decrypt(keyring: &impl Keyring, message: &[u8]) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).decrypt(message, Aad::new(b"row"))
}

#[track_caller]
fn saw<K: Keyring>(keyring: &ObservedKeyring<K, Recorder>, events: &[&str]) {
    assert_eq!(keyring.observer().take(), events);
}

#[test]
fn message_is_wrapped_once_and_unwrapped_once() {
    let keyring = observed();
    let message = encrypt(&keyring).unwrap();
    saw(&keyring, &["wrapped orders 1"]);
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"payload");
    saw(&keyring, &["unwrapped orders 1"]);
    // A body that does not verify concerns no key: the slot was opened.
    let mut changed = message.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(matches!(decrypt(&keyring, &changed), Err(Error::Authentication { .. })));
    saw(&keyring, &["unwrapped orders 1"]);
    // Operations without a key report no event.
    inspect(&message).unwrap();
    assert!(!Envelope::new(&keyring).needs_rewrap(&message).unwrap());
    saw(&keyring, &[]);
}

#[test]
fn rewrap_unwraps_wraps_and_proves() {
    let keyring = observed();
    let envelope = Envelope::new(&keyring);
    let mut message = encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    keyring.observer().take();
    assert!(envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed());
    saw(&keyring, &["unwrapped orders 1", "wrapped orders 2", "unwrapped orders 2"]);
    assert!(!envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed());
    // It goes by labels.
    saw(&keyring, &[]);
}

/// A slot that must fail would look like an attack in the log of a backend.
#[test]
fn retiring_a_version_asks_nothing_that_must_fail() {
    let keyring = observed();
    let envelope = Envelope::new(&keyring);
    let message = encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    keyring.observer().take();
    let options = RewrapOptions::new().retiring("orders", version(1));
    assert!(envelope.rewrap(&message, options).unwrap().is_changed());
    saw(&keyring, &["unwrapped orders 1", "wrapped orders 2", "unwrapped orders 2"]);
}

#[test]
fn each_refusal_is_reported_with_its_reason() {
    let key = MasterKey::from_bytes(&[3; 32]);
    let import = || MemoryKeyring::import("orders", version(1), &key).unwrap();
    let message = {
        let ring = import();
        ring.import_version(version(2), &MasterKey::from_bytes(&[4; 32])).unwrap();
        ring.promote(version(2)).unwrap();
        encrypt(&ring).unwrap()
    };
    for refusal in REFUSALS {
        let ring = import();
        if refusal != Refusal::UnknownVersion {
            ring.import_version(version(2), &MasterKey::from_bytes(&[4; 32])).unwrap();
            // Only what was in use can be compromised.
            ring.promote(version(2)).unwrap();
            ring.promote(version(1)).unwrap();
        }
        let ring = match refusal {
            Refusal::Compromised => {
                ring.mark_compromised(version(2)).unwrap();
                ring.refusing_compromised()
            }
            Refusal::UnknownVersion => ring,
            _ => {
                ring.disable(version(2)).unwrap();
                ring
            }
        };
        match refusal {
            Refusal::DestroyScheduled => {
                ring.schedule_destruction(version(2), MAX_DESTRUCTION_DELAY).unwrap();
            }
            Refusal::Destroyed => drop(ring.destroy_immediately(version(2)).unwrap()),
            _ => {}
        }
        let keyring = ObservedKeyring::new(ring, Recorder::default());
        decrypt(&keyring, &message).unwrap_err();
        let expected = format!("refused orders 2: {refusal:?}");
        saw(&keyring, &[&expected]);
        Envelope::new(&keyring).rewrap(&message, RewrapOptions::new()).unwrap_err();
        // A slot that its state refuses costs no call; an unknown version costs one, since it may
        // exist by now.
        match refusal {
            Refusal::UnknownVersion => saw(&keyring, &[&expected]),
            _ => saw(&keyring, &[]),
        }
    }
}

#[test]
fn every_use_of_compromised_version_is_reported() {
    let keyring = observed();
    let message = encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    keyring.observer().take();
    decrypt(&keyring, &message).unwrap();
    saw(&keyring, &["unwrapped compromised orders 1"]);
    let named = RewrapOptions::new().from_compromised("orders", version(1));
    assert!(Envelope::new(&keyring).rewrap(&message, named).unwrap().is_changed());
    saw(&keyring, &["unwrapped compromised orders 1", "wrapped orders 2", "unwrapped orders 2"]);
}

#[test]
fn unverified_slot_is_reported_and_foreign_is_not() {
    let keyring = observed();
    let message = encrypt(&keyring).unwrap();
    keyring.observer().take();
    let mut changed = message.clone();
    changed[25 + 16 + 6] ^= 1;
    assert!(matches!(decrypt(&keyring, &changed), Err(Error::Authentication { .. })));
    saw(&keyring, &["not verified orders 1"]);
    // It is labelled with the primary.
    let by_label = Envelope::new(&keyring).rewrap(&changed, RewrapOptions::new()).unwrap();
    assert!(by_label.report().relied_on_labels());
    saw(&keyring, &[]);
    keyring.rotate().unwrap();
    keyring.observer().take();
    Envelope::new(&keyring).rewrap(&changed, RewrapOptions::new()).unwrap_err();
    saw(&keyring, &["not verified orders 1"]);
    let other = MemoryKeyring::create("invoices").unwrap();
    decrypt(&keyring, &encrypt(&other).unwrap()).unwrap_err();
    // Ours by name, another's by material.
    let namesake = MemoryKeyring::create("orders").unwrap();
    decrypt(&keyring, &encrypt(&namesake).unwrap()).unwrap_err();
    saw(&keyring, &[]);
}

#[test]
fn every_slot_is_reported_by_its_own_keyring() {
    let (first, second) = (Toy::new("orders"), Toy::new("escrow"));
    let keyring = ObservedKeyring::new(Both(&first, &second), Recorder::default());
    let message = encrypt(&keyring).unwrap();
    saw(&keyring, &["wrapped orders 1", "wrapped escrow 1"]);
    let members = Both(
        ObservedKeyring::new(&first, Recorder::default()),
        ObservedKeyring::new(&second, Recorder::default()),
    );
    encrypt(&members).unwrap();
    saw(&members.0, &["wrapped orders 1"]);
    saw(&members.1, &["wrapped escrow 1"]);
    decrypt(&members, &message).unwrap();
    saw(&members.0, &["unwrapped orders 1"]);
    saw(&members.1, &[]);
}

/// The result with an observer is the result without, for every changed byte of a message.
#[test]
fn observer_changes_no_result() {
    for &suite in Suite::ALL {
        let plain = MemoryKeyring::create("orders").unwrap();
        let keyring = ObservedKeyring::new(&plain, Recorder::default());
        let (one, two) = (Envelope::new(&plain), Envelope::new(&keyring));
        let (one, two) = (one.with_suite(suite), two.with_suite(suite));
        let rng = || ChaCha20Rng::from_seed([1; 32]);
        let aad = Aad::new(b"row");
        let message = one.with_rng(&mut rng()).encrypt(b"payload", aad).unwrap();
        assert_eq!(message, two.with_rng(&mut rng()).encrypt(b"payload", aad).unwrap());
        plain.rotate().unwrap();
        let mut answers = 0;
        for at in 0..message.len() {
            for change in [0, 1, 0x80, 0xFF] {
                let mut changed = message.clone();
                changed[at] ^= change;
                let text = |opened: Result<Vec<u8>, Error>| format!("{opened:?}");
                let (a, b) = (one.decrypt(&changed, aad), two.decrypt(&changed, aad));
                assert_eq!(text(a), text(b), "byte {at}");
                let options = RewrapOptions::new().retiring("orders", version(1));
                let a = one.with_rng(&mut rng()).rewrap(&changed, options);
                let b = two.with_rng(&mut rng()).rewrap(&changed, options);
                let header = |rewrap: Result<Rewrap, Error>| text(rewrap.map(Rewrap::into_header));
                assert_eq!(header(a), header(b), "byte {at}");
                let (a, b) = (one.needs_rewrap(&changed), two.needs_rewrap(&changed));
                assert_eq!(format!("{a:?}"), format!("{b:?}"), "byte {at}");
                answers += 3;
            }
        }
        assert!(answers > 2000);
    }
}

#[test]
fn references_boxes_pairs_and_closures_observe() {
    let ring = || MemoryKeyring::create("orders").unwrap();
    let count = AtomicUsize::new(0);
    let closure = FnObserver::new(|_: &Event<'_>| {
        count.fetch_add(1, Relaxed);
    });
    let boxed: Box<dyn Observer + '_> = Box::new(&closure);
    encrypt(&ObservedKeyring::new(ring(), &boxed)).unwrap();
    let shared: Arc<dyn Observer + '_> = Arc::new(boxed);
    encrypt(&ObservedKeyring::new(ring(), (shared.clone(), &closure))).unwrap();
    drop(shared);
    assert_eq!(count.into_inner(), 3);
    // In order: the first of a pair, then the second.
    let reported = Mutex::new(Vec::new());
    let first = FnObserver::new(|_: &Event<'_>| reported.lock().unwrap().push(1));
    let second = FnObserver::new(|_: &Event<'_>| reported.lock().unwrap().push(2));
    encrypt(&ObservedKeyring::new(ring(), (&first, &second))).unwrap();
    assert_eq!(*reported.lock().unwrap(), [1, 2]);
}

/// No lock of the keyring is locked: an observer may change the keys of its events.
#[test]
fn observer_may_use_the_keyring() {
    let ring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let rotate = FnObserver::new(|event: &Event<'_>| {
        if matches!(event, Event::Wrapped { .. } | Event::Unwrapped { .. }) {
            ring.rotate().unwrap();
        }
    });
    let keyring = ObservedKeyring::new(ring.clone(), rotate);
    let message = encrypt(&keyring).unwrap();
    decrypt(&keyring, &message).unwrap();
    assert_eq!(ring.primary_version(), Some(version(3)));
}

#[test]
fn panicking_observer_costs_its_call_only() {
    let panics = std::sync::atomic::AtomicBool::new(true);
    let observer = FnObserver::new(|_: &Event<'_>| {
        assert!(!panics.load(Relaxed), "audit is full");
    });
    let keyring = ObservedKeyring::new(MemoryKeyring::create("orders").unwrap(), observer);
    let message = encrypt(keyring.keyring()).unwrap();
    let mut out = [0xA5; 7];
    let aad = Aad::new(b"row");
    let call = || Envelope::new(&keyring).decrypt_into(&message, aad, &mut out);
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| encrypt(&keyring))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| keyring.rotate())).is_err());
    assert_eq!(out, [0xA5; 7]);
    panics.store(false, Relaxed);
    // The change was made; the keyring is whole.
    assert_eq!(keyring.keyring().primary_version(), Some(version(2)));
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"payload");
    assert_eq!(decrypt(&keyring, &encrypt(&keyring).unwrap()).unwrap(), b"payload");
}

#[test]
fn threads_are_reported_alike() {
    let keyring = observed();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    decrypt(&keyring, &encrypt(&keyring).unwrap()).unwrap();
                }
            });
        }
    });
    let reported = keyring.observer().take();
    let count = |what: &str| reported.iter().filter(|line| *line == what).count();
    assert_eq!((count("wrapped orders 1"), count("unwrapped orders 1")), (400, 400));
    assert_eq!(reported.len(), 800);
}

#[test]
fn no_event_holds_a_secret() {
    let texts = Mutex::new(String::new());
    let observer = FnObserver::new(|event: &Event<'_>| {
        let text = format!("{event:?}\n{event:#?}\n{event:x?}\n");
        texts.lock().unwrap().push_str(&text);
    });
    let key = MasterKey::from_bytes(&secrets::MASTER_KEY);
    let ring = MemoryKeyring::import("orders", version(1), &key).unwrap();
    let keyring = ObservedKeyring::new(ring, &observer);
    let envelope = Envelope::new(&keyring);
    let aad = Aad::new(secrets::AAD);
    let mut rng = secrets::seeded();
    let mut message = envelope.with_rng(&mut rng).encrypt(secrets::PLAINTEXT, aad).unwrap();
    let data_key_id = inspect(&message).unwrap().data_key_id();
    envelope.decrypt(&message, aad).unwrap();
    keyring.rotate().unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    envelope.decrypt(&message, aad).unwrap();
    let older = message.clone();
    let name = inspect(&older).unwrap().slots().next().unwrap().label.name;
    let named = RewrapOptions::new().from_compromised(name.as_str(), version(1));
    assert!(envelope.rewrap_in_place(&mut message, named).unwrap().is_changed());
    keyring.disable(version(1)).unwrap();
    envelope.decrypt(&older, aad).unwrap_err();
    message[25 + 16 + 6] ^= 1;
    envelope.decrypt(&message, aad).unwrap_err();
    let imported = MasterKey::from_bytes(&secrets::data_key());
    keyring.import_version(version(9), &imported).unwrap();
    let text = texts.into_inner().unwrap();
    assert!(text.matches("Unwrapped").count() >= 9 && text.contains("NotVerified"));
    secrets::assert_no_secret(&text);
    assert!(!text.contains(&data_key_id.to_string()));
}
