//! Files of such keys as a whole: conformance, mixed files, files without their token.

use super::simulated_directory::SimulatedDirectory;
use super::token::{Deed, Token};
use super::{create, decrypt, encrypt, open, operate, raw, version};
use crate::conformance::{self, TestRng};
use crate::keyset::LifecycleError;
use crate::{
    Envelope, Error, Lifecycle, MasterKey, RewrapOptions, Timestamp,
    file::{FileKeyringOptions, KeyFileError, KeyFileFault, Salvage},
    format::WrapAlgorithm,
    inspect,
    keyset::{Change, ChangeOptions, Material, Operation, Origin, VersionState},
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::path::PathBuf;
use std::{format, vec};

const ALGORITHMS: [WrapAlgorithm; 2] =
    [WrapAlgorithm::TOKEN_AES_256_GCM, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC];

/// A directory of the system's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let directory = format!("envelock-held-{}-{name}-{number}", std::process::id());
        let path = std::env::temp_dir().join(directory);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn fault(error: Error) -> KeyFileFault {
    match error.backend() {
        Some(KeyFileError::Content { fault, .. }) => fault.clone(),
        _ => panic!("{error:?}"),
    }
}

#[test]
fn keyring_of_external_keys_conforms() {
    for algorithm in ALGORITHMS {
        let (scratch, made) = (Scratch::new("conformance"), AtomicU32::new(0));
        conformance::lifecycle(|| {
            let number = made.fetch_add(1, Relaxed);
            let path = scratch.0.join(format!("{number}.keys"));
            let source = Token::of(algorithm).source();
            FileKeyringOptions::new().create_with(&path, "orders", &raw(), source).unwrap()
        });
        assert!(made.into_inner() > 10);
    }
}

#[test]
fn mixed_keyring_conforms() {
    let (scratch, made) = (Scratch::new("mixed"), AtomicU32::new(0));
    conformance::lifecycle(|| {
        let number = made.fetch_add(1, Relaxed);
        let path = scratch.0.join(format!("{number}.keys"));
        let source = Token::mixed().source();
        FileKeyringOptions::new().create_with(&path, "orders", &raw(), source).unwrap()
    });
}

#[test]
fn records_and_slots_have_algorithm_and_origin() {
    for algorithm in ALGORITHMS {
        let directory = SimulatedDirectory::new();
        let token = Token::of(algorithm);
        let keyring = create(&directory, &token.source()).unwrap();
        let message = encrypt(&keyring).unwrap();
        let label = inspect(&message).unwrap().slots().next().unwrap().label;
        assert_eq!(label.algorithm, algorithm);
        let record = &keyring.versions()[0];
        let reported = (record.algorithm, record.origin, record.master_key_id);
        assert_eq!(reported, (algorithm, Origin::Token, label.master_key_id));
        // The next process.
        drop(keyring);
        let keyring = open(&directory, &token.source()).unwrap();
        assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
        assert_eq!(keyring.versions()[0].usage.wraps, 1);
    }
}

/// A migration from a file to a token and back: each version stays where it was made.
#[test]
fn versions_in_file_and_on_token_stand_side_by_side() {
    let directory = SimulatedDirectory::new();
    let token = Token::mixed();
    let software: Arc<dyn crate::keyring::wrapping_key::KeyMaterialStore> =
        Arc::new(crate::keyring::software::SoftwareSource);
    let keyring = create(&directory, &software).unwrap();
    let first = encrypt(&keyring).unwrap();
    drop(keyring);

    let keyring = open(&directory, &token.source()).unwrap();
    assert_eq!(decrypt(&keyring, &first).unwrap(), b"text");
    keyring.rotate().unwrap();
    let second = encrypt(&keyring).unwrap();
    keyring.import_version(version(3), &MasterKey::from_bytes(&[9; 32])).unwrap();
    keyring.promote(version(3)).unwrap();
    let third = encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    let algorithms: Vec<_> = keyring.versions().iter().map(|it| it.algorithm.id()).collect();
    assert_eq!(algorithms, [1, 2, 1, 2]);
    assert_eq!(token.versions(), [2, 4]);
    keyring.replace_file_key(&[&raw()]).unwrap();

    let keyring = open(&directory, &token.source()).unwrap();
    for message in [&first, &second, &third] {
        assert_eq!(decrypt(&keyring, message).unwrap(), b"text");
        let envelope = Envelope::new(&keyring);
        let header = envelope.rewrap(message, RewrapOptions::new()).unwrap().into_header();
        let body = &message[inspect(message).unwrap().len()..];
        let rewrapped = [&header, body].concat();
        let label = inspect(&rewrapped).unwrap().slots().next().unwrap().label;
        assert_eq!((label.version, label.algorithm.id()), (version(4), 2));
        assert_eq!(decrypt(&keyring, &rewrapped).unwrap(), b"text");
    }

    // Without its token the file does not open, unless it has no version on one.
    let reported = fault(open(&directory, &software).unwrap_err());
    assert!(
        matches!(&reported, KeyFileFault::TokenVersion { key, version: reported }
            if key == "orders" && *reported == version(2)),
        "{reported}"
    );
    assert_eq!(
        format!("{reported}"),
        "key file: material of key orders version 2 is on a token that was not given"
    );
    assert!(!reported.is_retryable());
    keyring.promote(version(3)).unwrap();
    let destroy = [2, 4].into_iter().flat_map(|number| {
        [Operation::Disable, Operation::DestroyImmediately].map(|it| operate(number, it))
    });
    let destroy: Vec<_> = destroy.collect();
    keyring.change(&destroy, &ChangeOptions::at(Timestamp::now()), &mut crate::OsRandom).unwrap();
    assert!(token.versions().is_empty());
    let keyring = open(&directory, &software).unwrap();
    assert_eq!(decrypt(&keyring, &third).unwrap(), b"text");
    keyring.rotate().unwrap();
}

#[test]
fn token_version_is_found_by_another_process() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let one = create(&directory, &token.source()).unwrap();
    let options = FileKeyringOptions::new().refresh_after(core::time::Duration::from_secs(1 << 30));
    let other = super::open_as(&directory, options, &token.source()).unwrap();
    one.rotate().unwrap();
    let message = encrypt(&one).unwrap();
    assert_eq!(decrypt(&other, &message).unwrap(), b"text");
    assert_eq!(other.primary_version(), Some(version(2)));
}

#[test]
fn source_with_its_own_keys_takes_none() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    token.deeds();
    let key = MasterKey::from_bytes(&[9; 32]);
    let material = Material::Imported(&key);
    let import = Change::AddVersion { key: "orders", version: None, material };
    let terms = ChangeOptions::at(Timestamp::now());
    let refused = keyring.change(&[import], &terms, &mut crate::OsRandom).unwrap_err();
    assert!(
        matches!(refused, Error::Lifecycle(LifecycleError::ImportRefused))
            && !refused.is_retryable()
    );
    assert_eq!(format!("{refused}"), "key material cannot be imported: this keyring makes its own");
    assert!(token.deeds().is_empty());
    // The key of an earlier change in the same batch is destroyed.
    let batch = [Change::Rotate { key: "orders" }, import];
    let refused = keyring.change(&batch, &terms, &mut crate::OsRandom).unwrap_err();
    assert!(matches!(refused, Error::Lifecycle(LifecycleError::ImportRefused)));
    assert_eq!(token.deeds(), [(Deed::Made, 2), (Deed::Discarded, 2)]);
    // A number that is taken is known before any key is made.
    let add = |number| {
        let (version, material) = (Some(version(number)), Material::Fresh);
        Change::AddVersion { key: "orders", version, material }
    };
    let refused = keyring.change(&[add(1)], &terms, &mut crate::OsRandom).unwrap_err();
    assert!(matches!(refused, Error::Lifecycle(LifecycleError::VersionNumber { .. })));
    assert!(token.deeds().is_empty());
    assert_eq!(token.versions(), [1]);
}

/// The key of another version is not discarded, whatever a source returns.
#[test]
fn id_that_is_on_record_is_refused_and_not_discarded() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    let rotate = [Change::Rotate { key: "orders" }];
    let terms = ChangeOptions::at(Timestamp::now());
    keyring.change(&rotate, &terms, &mut TestRng::seeded(1)).unwrap();
    let message = encrypt(&keyring).unwrap();
    token.deeds();
    let refused = keyring.change(&rotate, &terms, &mut TestRng::seeded(1)).unwrap_err();
    assert!(matches!(refused, Error::Lifecycle(LifecycleError::KeyMaterial)), "{refused:?}");
    assert_eq!(token.deeds(), [(Deed::Made, 3)]);
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
}

#[test]
fn version_made_and_destroyed_is_destroyed_on_token() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    token.deeds();
    let batch = [
        Change::AddVersion { key: "orders", version: None, material: Material::Fresh },
        operate(2, Operation::Disable),
        operate(2, Operation::DestroyImmediately),
    ];
    keyring.change(&batch, &ChangeOptions::at(Timestamp::now()), &mut crate::OsRandom).unwrap();
    assert_eq!(token.deeds(), [(Deed::Made, 2), (Deed::Destroyed, 2)]);
}

#[test]
fn salvage_keeps_versions_on_a_token() {
    let scratch = Scratch::new("salvage");
    let token = Token::mixed();
    let (path, new) = (scratch.0.join("orders.keys"), scratch.0.join("new.keys"));
    let options = FileKeyringOptions::new();
    let keyring = options.create_with(&path, "orders", &raw(), token.source()).unwrap();
    keyring.import_version(version(2), &MasterKey::from_bytes(&[9; 32])).unwrap();
    keyring.rotate().unwrap();
    let message = encrypt(&keyring).unwrap();
    drop(keyring);
    // The line of version 2 is damaged. The header has a version 2, too, that of the format.
    let mut bytes = std::fs::read(&path).unwrap();
    let record = b"\"orders\",\"version\":2,";
    let line = bytes.windows(record.len()).position(|it| it == record).unwrap();
    bytes[line + 40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();

    let salvage = Salvage::read(&path, &raw()).unwrap();
    let orders = |number| ("orders".into(), version(number));
    assert_eq!(salvage.intact(), [orders(1), orders(3)]);
    assert_eq!(salvage.damaged().len(), 1);
    let reported = fault(salvage.create(&new, &raw(), &options).map(drop).unwrap_err());
    assert!(
        matches!(reported, KeyFileFault::TokenVersion { version: reported, .. } if reported == version(1))
    );
    assert!(!new.exists());
    let keyring = salvage.create_with(&new, &raw(), &options, &token.source()).unwrap();
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
    let states: Vec<_> = keyring.versions().iter().map(|it| (it.version, it.state)).collect();
    assert_eq!(
        states,
        vec![(version(1), VersionState::Enabled), (version(3), VersionState::Primary)]
    );
    assert!(token.deeds().iter().all(|(deed, _)| *deed == Deed::Made));
}
