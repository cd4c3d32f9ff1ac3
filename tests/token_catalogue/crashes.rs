//! No change of a file is atomic with one of a token. Whatever fails or crashes in between, no version
//! on record loses its key, and a key that is destroyed on record is destroyed in the end.

use super::simulated_directory::{EIO, Fault, Plan, SimulatedDirectory};
use super::token::{Deed, Token};
use super::{create, decrypt, encrypt, open, operate, version};
use crate::keyset::LifecycleError;
use crate::{
    Error, FileKeyring, Lifecycle, Timestamp,
    file::{FileError, KeyFileError},
    keyset::{Change, ChangeOptions, Operation, VersionState},
};
use alloc::vec::Vec;
use std::format;

/// Versions on record that are not destroyed.
fn kept(keyring: &FileKeyring) -> Vec<u32> {
    let versions = keyring.versions();
    let kept = versions.iter().filter(|record| record.state != VersionState::Destroyed);
    kept.map(|record| record.version.number()).collect()
}

fn is_undecided(error: &Error) -> bool {
    matches!(error.backend(), Some(KeyFileError::File(FileError::NotDurable { .. })))
}

/// Each system call of a rotation fails once.
#[test]
fn made_keys_are_discarded_if_the_file_is_unwritten() {
    let (mut discarded, mut undecided) = (0, 0);
    for at in 0.. {
        for fault in [Fault::Error(EIO), Fault::ErrorAfter(EIO)] {
            let directory = SimulatedDirectory::new();
            let token = Token::new();
            let keyring = create(&directory, &token.source()).unwrap();
            token.deeds();
            directory.plan(Plan { faults: [(at, fault)].into(), ..Plan::default() });
            let outcome = keyring.rotate();
            let calls = directory.calls().len();
            let deeds = token.deeds();
            match &outcome {
                Ok(_) => assert_eq!(deeds, [(Deed::Made, 2)], "call {at}"),
                Err(error) if is_undecided(error) => {
                    undecided += 1;
                    assert_eq!(deeds, [(Deed::Made, 2)], "call {at}");
                }
                // The file could not be loaded, and nothing was made.
                Err(_) if deeds.is_empty() => {}
                Err(_) => {
                    discarded += 1;
                    assert_eq!(deeds, [(Deed::Made, 2), (Deed::Discarded, 2)], "call {at}");
                }
            }
            drop(keyring);
            directory.plan(Plan::default());
            let keyring = open(&directory, &token.source()).unwrap();
            let is_there = keyring.versions().len() == 2;
            if !outcome.as_ref().is_err_and(is_undecided) {
                assert_eq!(is_there, outcome.is_ok(), "call {at}: {outcome:?}");
            }
            decrypt(&keyring, &encrypt(&keyring).unwrap()).unwrap();
            if at >= calls {
                assert!(discarded > 10 && undecided > 0, "{discarded}, {undecided}");
                return;
            }
        }
    }
}

#[test]
fn new_file_that_was_not_written_leaves_no_key() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    token.deeds();
    let refused = create(&directory, &token.source()).unwrap_err();
    assert!(matches!(refused.backend(), Some(KeyFileError::File(FileError::Exists { .. }))));
    assert_eq!(token.deeds(), [(Deed::Made, 1), (Deed::Discarded, 1)]);
    assert_eq!(token.versions(), [1]);
    decrypt(&keyring, &encrypt(&keyring).unwrap()).unwrap();
}

/// The state of the file after each crash while `change` is made to one with versions 1 and 2: the
/// time, and the versions on record that are not destroyed.
fn crash_images(token: &Token, change: impl Fn(&FileKeyring)) -> Vec<(usize, Vec<u32>)> {
    let directory = SimulatedDirectory::new();
    let keyring = create(&directory, &token.source()).unwrap();
    keyring.rotate().unwrap();
    token.set_clock(&directory);
    directory.plan(Plan { record_disks: true, ..Plan::default() });
    change(&keyring);
    core::mem::forget(keyring);
    let mut images = Vec::new();
    for (time, disk) in directory.recorded_disks().iter().enumerate() {
        disk.crash(&mut |image| {
            let directory = SimulatedDirectory::from_disk(image);
            images.push((time, kept(&open(&directory, &token.source()).unwrap())));
        });
    }
    images
}

/// The machine crashes at each system call of a rotation.
#[test]
fn no_version_is_on_record_before_its_key_is_made() {
    let token = Token::new();
    let images = crash_images(&token, |keyring| assert_eq!(keyring.rotate().unwrap(), version(3)));
    let made = token.time_of(Deed::Made).unwrap();
    for (time, versions) in &images {
        assert!(*versions == [1, 2] || *versions == [1, 2, 3] && *time > made, "{time}");
    }
    assert!(images.iter().any(|(time, versions)| *versions == [1, 2] && *time > made));
    assert_eq!(images.last().unwrap().1, [1, 2, 3]);
}

/// The machine crashes at each system call of a destruction.
#[test]
fn no_key_is_destroyed_before_its_record_is_durable() {
    let token = Token::new();
    let destroy = [operate(1, Operation::Disable), operate(1, Operation::DestroyImmediately)];
    let options = ChangeOptions::at(Timestamp::now());
    let images = crash_images(&token, |keyring| {
        keyring.change(&destroy, &options, &mut crate::OsRandom).map(drop).unwrap();
    });
    let destroyed = token.time_of(Deed::Destroyed).unwrap();
    for (time, versions) in &images {
        assert!(*versions == [2] || *versions == [1, 2] && *time < destroyed, "{time}");
    }
    assert!(images.iter().any(|(time, versions)| *versions == [2] && *time < destroyed));
    assert_eq!(images.first().unwrap().1, [1, 2]);
}

/// A key that was destroyed on record and not on the token is destroyed with the next change, by
/// any process.
#[test]
fn interrupted_destruction_ends_with_the_next_change() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    let message = encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    token.deeds();
    token.set_unavailable(true);
    let reported = keyring.destroy_immediately(version(1)).unwrap_err();
    let transition = crate::keyset::Transition::State {
        key: "orders".into(),
        version: version(1),
        from: VersionState::Disabled,
        to: VersionState::Destroyed,
    };
    assert!(
        matches!(&reported, Error::Lifecycle(LifecycleError::NotDestroyed { changed, source })
            if source.is_retryable()
                && changed.change == keyring.change_number()
                && changed.transitions == [transition]),
        "{reported:?}"
    );
    assert!(!reported.is_retryable());
    assert_eq!(
        format!("{reported}"),
        "changes are made, but key material of a destroyed version is still on its token"
    );
    // The destruction is on record all the same.
    assert_eq!(keyring.versions()[0].state, VersionState::Destroyed);
    assert!(matches!(decrypt(&keyring, &message), Err(Error::Refused { .. })));
    assert_eq!(token.versions(), [1, 2]);
    drop(keyring);

    // The file opens without a call of the token, and usage is no change.
    let keyring = open(&directory, &token.source()).unwrap();
    token.set_unavailable(false);
    encrypt(&keyring).unwrap();
    assert_eq!(token.versions(), [1, 2]);
    let nothing: [Change<'_>; 0] = [];
    keyring.change(&nothing, &ChangeOptions::at(Timestamp::now()), &mut crate::OsRandom).unwrap();
    assert_eq!(token.deeds(), [(Deed::Destroyed, 1)]);
    assert_eq!(token.versions(), [2]);
    keyring.rotate().unwrap();
    assert_eq!(token.deeds(), [(Deed::Made, 3)]);
}

/// No key is destroyed for a change that may not last.
#[test]
fn destruction_that_is_not_durable_is_not_carried_out() {
    let directory = SimulatedDirectory::new();
    let token = Token::new();
    let keyring = create(&directory, &token.source()).unwrap();
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    token.deeds();
    for at in 0.. {
        directory.plan(Plan { faults: [(at, Fault::Error(EIO))].into(), ..Plan::default() });
        let keyring = match open(&directory, &token.source()) {
            Ok(keyring) => keyring,
            Err(_) => continue,
        };
        let outcome = keyring.destroy_immediately(version(1));
        core::mem::forget(keyring);
        if outcome.is_ok() {
            assert_eq!(token.deeds(), [(Deed::Destroyed, 1)]);
            return;
        }
        assert!(token.deeds().is_empty() && token.versions() == [1, 2], "call {at}: {outcome:?}");
        if outcome.is_err_and(|error| is_undecided(&error)) {
            // The next change finds it destroyed.
            directory.plan(Plan::default());
            let keyring = open(&directory, &token.source()).unwrap();
            keyring.rotate().unwrap();
            assert_eq!(token.deeds(), [(Deed::Made, 3), (Deed::Destroyed, 1)]);
            return;
        }
    }
}
