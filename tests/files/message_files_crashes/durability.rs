//! Durability of a rewrap that returned, whatever was written before it.

use crate::common::simulated_directory::disk::Disk;
use crate::common::simulated_directory::{EIO, Fault, Kind, Plan, SimulatedDirectory};
use crate::message_files_crashes::scene::{JOURNAL, NAME, NEW, Operation, Scene};
use envelock::file::{FileChange, FileError, MessageFileError};
use envelock::test_access::key_file::Directory;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

/// How many images that a crash leaves now are not under the new version.
fn not_new(scene: &Scene, disk: &Disk) -> usize {
    let mut count = 0;
    disk.crash(&mut |image| count += usize::from(scene.found(&image) != Ok(NEW)));
    count
}

/// Rewraps again with all syncs, then without each: only with all is the header durable.
fn is_confirmed(scene: &Scene, killed: &Disk, expected: FileChange) {
    assert!(not_new(scene, killed) > 0, "nothing is to be lost");
    let rewrap = |ignored_syncs| {
        let directory = SimulatedDirectory::from_disk(killed.clone());
        directory.plan(Plan { ignored_syncs, ..Plan::default() });
        assert_eq!(scene.rewrap(&directory).unwrap(), expected);
        not_new(scene, &directory.disk())
    };
    assert_eq!(rewrap(BTreeSet::new()), 0);
    assert!((0..2).any(|number| rewrap(BTreeSet::from([number])) > 0));
}

#[test]
fn unchanged_is_durable_after_a_killed_copy() {
    let scene = Scene::new(Operation::Copy);
    let directory = scene.directory();
    directory.plan(Plan { record_disks: true, ..Plan::default() });
    scene.perform(&directory);
    let renamed = directory.calls().iter().position(|call| call.kind == Kind::Rename).unwrap();
    let killed = &directory.recorded_disks()[renamed + 1];
    is_confirmed(&scene, killed, FileChange::Unchanged);
}

#[test]
fn unchanged_is_durable_after_a_foreign_header_write() {
    let scene = Scene::new(Operation::InPlaceLong);
    let directory = scene.directory();
    let rewrap = scene.envelope.rewrap(&scene.message, Default::default()).unwrap();
    directory.open_write(OsStr::new(NAME)).unwrap().write_at(rewrap.header(), 0).unwrap();
    is_confirmed(&scene, &directory.disk(), FileChange::Unchanged);
}

/// The kernel forgets what it could not write: only what is written again is synced again.
#[test]
fn failed_sync_of_header_is_mended_by_next_rewrap() {
    for operation in [Operation::InPlace, Operation::InPlaceLong] {
        let scene = Scene::new(operation);
        let directory = scene.directory();
        directory.plan(Plan::default());
        scene.perform(&directory);
        let calls = directory.calls();
        let sync = calls.iter().rposition(|call| call.kind == Kind::SyncFile).unwrap();

        let directory = scene.directory();
        let faults = BTreeMap::from([(sync, Fault::Error(EIO))]);
        directory.plan(Plan { faults, cleans_failed_syncs: true, ..Plan::default() });
        let error = scene.rewrap(&directory).unwrap_err();
        assert!(matches!(
            error.backend(),
            Some(MessageFileError::File(FileError::NotDurable { .. }))
        ));
        assert!(!error.is_retryable());
        let syncs = |kind| directory.calls().iter().filter(|call| call.kind == kind).count();
        assert_eq!((syncs(Kind::SyncFile), syncs(Kind::SyncDirectory)), (2, 1));
        assert_eq!(directory.disk().list(), [JOURNAL, NAME]);
        assert_eq!(scene.found(&directory.disk()), Ok(NEW));
        let mut images = 0;
        directory.disk().crash(&mut |image| {
            images += 1;
            assert!(scene.found(&image).is_ok());
        });
        assert!(images > 100);

        directory.plan(Plan { cleans_failed_syncs: true, ..Plan::default() });
        assert_eq!(scene.rewrap(&directory).unwrap(), FileChange::Unchanged);
        assert_eq!(directory.disk().list(), [NAME]);
        assert_eq!(not_new(&scene, &directory.disk()), 0);
    }
}
