//! The memory keyring: numbers and material are never used twice, and no rotation loses a message,
//! whatever happens at the same time. `lifecycle_table.rs` tests the state table.

use crate::common::detached::WriteDetached;
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring, RewrapOptions,
    format::WrapAlgorithm,
    inspect,
    keyring::{Freshness, Refusal},
    keyset::VersionState,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

const ROW: Aad<'static> = Aad::new(b"row");

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn master_key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32])
}

fn state(keyring: &MemoryKeyring, number: u32) -> VersionState {
    let versions = keyring.versions();
    versions.iter().find(|record| record.version == version(number)).unwrap().state
}

fn written_under(message: &[u8]) -> u32 {
    inspect(message).unwrap().slots().next().unwrap().label.version.number()
}

/// A keyring with version 1 enabled and version 2 the primary, and a message under version 1.
fn rotated() -> (MemoryKeyring, Vec<u8>) {
    let keyring = MemoryKeyring::import("orders", version(1), &master_key(1)).unwrap();
    let first = Envelope::new(&keyring).encrypt(b"first", ROW).unwrap();
    keyring.import_version(version(2), &master_key(2)).unwrap();
    keyring.promote(version(2)).unwrap();
    (keyring, first)
}

#[test]
fn pending_version_unwraps_before_it_wraps() {
    let here = MemoryKeyring::import("orders", version(1), &master_key(1)).unwrap();
    let there = MemoryKeyring::import("orders", version(1), &master_key(1)).unwrap();
    for keyring in [&here, &there] {
        keyring.import_version(version(2), &master_key(2)).unwrap();
        assert_eq!(state(keyring, 2), VersionState::Pending);
        assert_eq!(keyring.primary_version(), Some(version(1)));
    }
    assert_eq!(written_under(&Envelope::new(&here).encrypt(b"", ROW).unwrap()), 1);
    there.promote(version(2)).unwrap();
    let ahead = Envelope::new(&there).encrypt(b"ahead", ROW).unwrap();
    assert_eq!(Envelope::new(&here).decrypt(&ahead, ROW).unwrap(), b"ahead");
}

#[test]
fn versions_grow_and_are_never_used_again() {
    let keyring = MemoryKeyring::import("orders", version(5), &master_key(5)).unwrap();
    let refused = |result: Result<(), Error>, expected: u32| match result.unwrap_err() {
        Error::Lifecycle(LifecycleError::VersionNumber { key, last }) => {
            assert_eq!((&*key, last.number()), ("orders", expected));
        }
        other => panic!("{other:?}"),
    };
    for number in [1, 4, 5] {
        refused(keyring.import_version(version(number), &master_key(9)).map(drop), 5);
    }
    assert_eq!(keyring.add_version().unwrap(), version(6));
    assert_eq!(keyring.rotate().unwrap(), version(7));
    keyring.disable(version(6)).unwrap();
    refused(keyring.import_version(version(6), &master_key(9)).map(drop), 7);
    keyring.import_version(version(u32::MAX - 1), &master_key(9)).unwrap();
    assert_eq!(keyring.rotate().unwrap(), version(u32::MAX));
    let records = keyring.versions();
    refused(keyring.rotate().map(|_| ()), u32::MAX);
    refused(keyring.add_version().map(|_| ()), u32::MAX);
    assert_eq!(keyring.versions(), records);
    assert!(records.is_sorted_by(|one, two| one.version < two.version));
    assert!(records.iter().all(|record| record.algorithm == WrapAlgorithm::XAES_256_GCM));
}

#[test]
fn material_that_is_zero_or_there_already_is_refused() {
    let zero = MemoryKeyring::import("orders", version(1), &master_key(0));
    assert!(matches!(zero.unwrap_err(), Error::Lifecycle(LifecycleError::KeyMaterial)));
    let keyring = MemoryKeyring::import("orders", version(1), &master_key(1)).unwrap();
    keyring.import_version(version(2), &master_key(2)).unwrap();
    keyring.disable(version(2)).unwrap();
    for byte in [0, 1, 2] {
        let error = keyring.import_version(version(3), &master_key(byte)).unwrap_err();
        assert!(
            matches!(error, Error::Lifecycle(LifecycleError::KeyMaterial)),
            "{byte}: {error:?}"
        );
    }
    assert_eq!(keyring.versions().len(), 2);
    keyring.import_version(version(3), &master_key(3)).unwrap();
}

#[test]
fn names_of_keysets_have_at_most_64_bytes_of_alphabet() {
    let longest = "a".repeat(64);
    for name in ["a", "A-1._:/@+=-", "0", &longest] {
        let keyring = MemoryKeyring::create(name).unwrap();
        let message = Envelope::new(&keyring).encrypt(b"", ROW).unwrap();
        let label = inspect(&message).unwrap().slots().next().unwrap().label;
        assert_eq!(label.name.as_str(), name);
    }
    let too_long = "a".repeat(65);
    for (name, offset) in [("", 0), ("-a", 0), (".", 0), ("a b", 1), ("aé", 1), (&too_long, 64)] {
        let Err(Error::Lifecycle(LifecycleError::KeyName(error))) = MemoryKeyring::create(name)
        else {
            panic!("{name}")
        };
        assert_eq!(error.offset, offset, "{name:?}");
        assert!(MemoryKeyring::import(name, version(1), &master_key(1)).is_err());
    }
}

#[test]
fn messages_of_every_version_open_after_100_rotations() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let mut messages = Vec::new();
    for number in 1..=100_u32 {
        let message = envelope.encrypt(&number.to_be_bytes(), ROW).unwrap();
        assert_eq!(written_under(&message), number);
        messages.push(message);
        assert_eq!(keyring.rotate().unwrap(), version(number + 1));
    }
    for (number, message) in (1..=100_u32).zip(&mut messages) {
        assert_eq!(envelope.decrypt(message, ROW).unwrap(), number.to_be_bytes());
        assert!(envelope.rewrap_in_place(message, RewrapOptions::new()).unwrap().is_changed());
        assert_eq!(written_under(message), 101);
    }
    (1..=100).for_each(|number| drop(keyring.disable(version(number)).unwrap()));
    for (number, message) in (1..=100_u32).zip(&messages) {
        assert_eq!(envelope.decrypt(message, ROW).unwrap(), number.to_be_bytes());
    }
}

/// SPEC K-MASTER: a restored backup that grew a second "version 2" is distinguished by the id.
#[test]
fn version_with_other_material_is_no_key() {
    let [original, restored] = [2, 3].map(|second| {
        let keyring = MemoryKeyring::import("orders", version(1), &master_key(1)).unwrap();
        keyring.import_version(version(2), &master_key(second)).unwrap();
        keyring.promote(version(2)).unwrap();
        keyring
    });
    let message = Envelope::new(&original).encrypt(b"payload", ROW).unwrap();
    let envelope = Envelope::new(&restored);
    match envelope.decrypt(&message, ROW).unwrap_err() {
        Error::NoKey { key, version: reported, slots: 1, .. } => {
            assert_eq!((&*key, reported), ("orders", version(2)));
        }
        other => panic!("{other:?}"),
    }
    let label = inspect(&message).unwrap().slots().next().unwrap().label;
    assert_eq!(restored.freshness(&label).unwrap(), Freshness::NotMine);
    assert!(!envelope.needs_rewrap(&message).unwrap());
    let error = envelope.rewrap(&message, RewrapOptions::new()).unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }));
    // Both open the messages under a version that both have.
    original.promote(version(1)).unwrap();
    let shared = Envelope::new(&original).encrypt(b"payload", ROW).unwrap();
    assert_eq!(envelope.decrypt(&shared, ROW).unwrap(), b"payload");
}

/// SPEC W-ONE.
#[test]
fn slot_of_another_algorithm_is_not_the_version_s() {
    let (keyring, message) = rotated();
    let mut other = message;
    // Another crate's algorithm may have wrapped keys of 72 bytes too.
    other[37] = 200;
    let envelope = Envelope::new(&keyring);
    assert!(matches!(envelope.decrypt(&other, ROW), Err(Error::NoKey { .. })));
    let error = envelope.rewrap(&other, RewrapOptions::new()).unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }));
    assert!(!envelope.needs_rewrap(&other).unwrap());
}

#[test]
fn eight_threads_write_and_read_through_200_rotations() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let rotating = AtomicBool::new(true);
    let written = AtomicUsize::new(0);
    let kept: Vec<(u32, Vec<u8>)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u32)
            .map(|writer| {
                let (envelope, rotating, written) = (&envelope, &rotating, &written);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    let mut last = 0;
                    while rotating.load(Relaxed) || kept.is_empty() {
                        let mut message = envelope.encrypt(&writer.to_be_bytes(), ROW).unwrap();
                        let under = written_under(&message);
                        assert!(under >= last, "version {under} wraps after {last}");
                        last = under;
                        let opened = envelope.decrypt(&message, ROW).unwrap();
                        assert_eq!(opened, writer.to_be_bytes());
                        drop(envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap());
                        assert!(written_under(&message) >= under);
                        written.fetch_add(1, Relaxed);
                        kept.push((writer, message));
                    }
                    kept
                })
            })
            .collect();
        for _ in 0..200 {
            let before = written.load(Relaxed);
            keyring.rotate().unwrap();
            // A writer that is done has failed.
            while written.load(Relaxed) == before && !writers.iter().any(|one| one.is_finished()) {
                thread::yield_now();
            }
        }
        rotating.store(false, Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(keyring.primary_version(), Some(version(201)));
    assert!(kept.len() >= 200);
    for (writer, message) in kept {
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), writer.to_be_bytes());
    }
}

#[test]
fn flapping_version_is_open_or_disabled() {
    let (keyring, first) = rotated();
    let envelope = Envelope::new(&keyring);
    let toggling = AtomicBool::new(true);
    let [opened, refused, rewrapped] = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        let readers = [(); 8].map(|()| {
            scope.spawn(|| {
                while toggling.load(Relaxed) {
                    match envelope.decrypt(&first, ROW) {
                        Ok(plaintext) => {
                            assert_eq!(plaintext, b"first");
                            opened.fetch_add(1, Relaxed);
                        }
                        Err(Error::Refused {
                            version: reported,
                            refusal: Refusal::Disabled,
                            ..
                        }) => {
                            assert_eq!(reported, version(1));
                            refused.fetch_add(1, Relaxed);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                    let mut copy = first.clone();
                    match envelope.rewrap_in_place(&mut copy, RewrapOptions::new()) {
                        Ok(report) => {
                            assert!(report.is_changed() && written_under(&copy) == 2);
                            rewrapped.fetch_add(1, Relaxed);
                        }
                        Err(Error::Refused { refusal: Refusal::Disabled, .. }) => {
                            assert_eq!(copy, first);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        });
        // Until each outcome was seen often enough; a reader that is done has failed.
        while [&opened, &refused, &rewrapped].iter().any(|count| count.load(Relaxed) < 200)
            && !readers.iter().any(|one| one.is_finished())
        {
            keyring.disable(version(1)).unwrap();
            thread::yield_now();
            keyring.enable(version(1)).unwrap();
            thread::yield_now();
        }
        toggling.store(false, Relaxed);
    });
}
