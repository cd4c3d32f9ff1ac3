//! Failed syncs that two threads see, and a lock file that is removed under its users.

use crate::common::simulated_directory::schedule::Schedule;
use crate::common::simulated_directory::{EIO, Fault, Kind, Plan, SimulatedDirectory};
use crate::key_file_crashes::operations::{
    KEY, LOCK, Message, NAME, Operation, PRIMARY, World, decrypt, encrypt, file_error, lazy, open,
    raw, version,
};
use envelock::Lifecycle;
use envelock::test_access::key_file::{FileAction, FileError, KeyFileError, Store};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// The order of the threads is the machine's; each time either outcome must be right.
const ROUNDS: usize = 100;

fn is_poisoned(error: &KeyFileError) -> bool {
    matches!(error, KeyFileError::Poisoned { .. })
}

/// The results of two threads that do the same at the same time.
fn twice<T: Send>(work: impl Fn() -> T + Sync) -> [T; 2] {
    let barrier = Barrier::new(2);
    let meet = || {
        barrier.wait();
        work()
    };
    thread::scope(|scope| {
        let first = scope.spawn(meet);
        let second = meet();
        [first.join().unwrap(), second]
    })
}

fn count(directory: &SimulatedDirectory, kind: Kind) -> usize {
    directory.calls().iter().filter(|call| call.kind == kind).count()
}

/// One of the two got the error of the system, the other an error that refers to it.
fn assert_one_failed(errors: [KeyFileError; 2], action: FileAction) {
    let failed = |e: &&KeyFileError| matches!(e, KeyFileError::File(FileError::Io { action: a, .. }) if *a == action);
    assert_eq!(errors.iter().filter(failed).count(), 1, "{errors:?}");
    assert_eq!(errors.iter().filter(|e| is_poisoned(e)).count(), 1, "{errors:?}");
}

fn failing(kind: Kind) -> Plan {
    Plan {
        next_faults: BTreeMap::from([(kind, Fault::Error(EIO))]),
        forgets_failed_syncs: true,
        ..Plan::default()
    }
}

/// Both have read the file when the one sync fails: the other may not promise anything either.
#[test]
fn two_reading_threads_both_see_a_failed_sync() {
    let world = World::new();
    for _ in 0..ROUNDS {
        let directory = world.scene(Operation::Open).directory;
        let store = Store::in_directory(Arc::new(directory.clone()), OsStr::new(NAME)).unwrap();
        directory.plan(Plan::default());
        store.load().unwrap();
        let reads = directory.calls().len() - 1;
        directory.plan(failing(Kind::SyncDirectory));
        // The last read of the first comes last, so that neither syncs before both have read.
        let order = [vec![0; reads - 1], vec![1; reads], vec![0]];
        let schedule = Arc::new(Schedule::new(order.concat()));
        directory.set_schedule(Some(schedule.clone()));
        let load = |role| schedule.run(role, || store.load().unwrap_err());
        let errors = thread::scope(|scope| {
            let first = scope.spawn(|| load(0));
            let second = load(1);
            [first.join().unwrap(), second]
        });
        assert_one_failed(errors, FileAction::SyncDirectory);
        assert_eq!(count(&directory, Kind::SyncDirectory), 1);
        assert!(is_poisoned(&store.lock(Duration::ZERO).unwrap_err()));
    }
}

#[test]
fn two_reloading_threads_keep_the_durable_state() {
    let world = World::new();
    for _ in 0..ROUNDS {
        let scene = world.scene(Operation::Reload);
        let keyring = scene.keyring.as_ref().unwrap();
        scene.directory.plan(failing(Kind::SyncDirectory));
        let answers = twice(|| (keyring.reload().unwrap_err(), encrypt(keyring)));
        let [first, second] = answers.map(|(error, wrapped)| {
            if let Ok(bytes) = wrapped {
                assert_eq!(Message::of(bytes).version, version(PRIMARY));
            }
            file_error(&error)
        });
        assert_one_failed([first, second], FileAction::SyncDirectory);
        assert_eq!(count(&scene.directory, Kind::SyncDirectory), 1);
        assert_eq!(keyring.primary_version(), Some(version(PRIMARY)));
    }
}

/// The second waits for the lock while the sync of the first fails.
#[test]
fn two_threads_that_rotate_both_hear_of_a_failed_sync() {
    let world = World::new();
    for _ in 0..ROUNDS / 4 {
        let scene = world.scene(Operation::Rotate);
        let options = lazy().without_usage().lock_wait(Duration::from_secs(600));
        let keyring = open(&scene.directory, &options, &raw(7)).unwrap();
        scene.directory.plan(failing(Kind::SyncDirectory));
        let errors = twice(|| file_error(&keyring.rotate().unwrap_err()));
        assert_one_failed(errors, FileAction::SyncDirectory);
        assert_eq!(count(&scene.directory, Kind::SyncDirectory), 1);
        assert_eq!(keyring.primary_version(), Some(version(PRIMARY)));
        assert!(encrypt(&keyring).is_ok(), "what was loaded is durable");
    }
}

/// A third process removes the lock file between a writer's open and its lock; another writer makes
/// a new one, and gets `others` calls far before the first goes on.
#[test]
fn lock_file_removed_before_lock_makes_one_writer() {
    let world = World::new();
    let mut model = world.scene(Operation::Rotate);
    model.directory.plan(Plan::default());
    model.perform().unwrap();
    let calls = model.directory.calls().len();
    for before in 1..=3 {
        for others in 1..=calls {
            let scene = world.scene(Operation::Rotate);
            let options = lazy().without_usage().lock_wait(Duration::from_secs(600));
            let keyrings = [(); 2].map(|()| open(&scene.directory, &options, &raw(7)).unwrap());
            let removals = BTreeMap::from([(before, OsString::from(LOCK))]);
            scene.directory.plan(Plan { removals, ..Plan::default() });
            let order = [vec![0; before], vec![1; others], vec![0; calls], vec![1; calls]];
            let schedule = Arc::new(Schedule::new(order.concat()));
            scene.directory.set_schedule(Some(schedule.clone()));
            let [first, second] = &keyrings;
            let versions = thread::scope(|scope| {
                let rotated = scope.spawn(|| schedule.run(0, || first.rotate().unwrap()));
                let second = schedule.run(1, || second.rotate().unwrap());
                [rotated.join().unwrap(), second]
            });
            scene.directory.set_schedule(None);
            assert_ne!(versions[0], versions[1], "{before} calls, then {others} of the other");
            let keysets = scene.keysets().unwrap();
            assert_eq!(keysets.keyset(KEY).unwrap().highest_version(), PRIMARY + 2);
            for keyring in &keyrings {
                let message = encrypt(keyring).unwrap();
                let opened = open(&scene.directory, &lazy(), &raw(7)).unwrap();
                assert!(decrypt(&opened, &message).is_ok());
            }
        }
    }
}

/// A writer whose lock file is removed each time gives up as with any lock.
#[test]
fn removed_lock_file_is_created_again_or_given_up() {
    for before in 1..=3 {
        let scene = World::new().scene(Operation::Rotate);
        let keyring = scene.keyring.as_ref().unwrap();
        let removals = BTreeMap::from([(before, OsString::from(LOCK))]);
        scene.directory.plan(Plan { removals, ..Plan::default() });
        let error = file_error(&keyring.rotate().unwrap_err());
        assert!(
            matches!(error, KeyFileError::File(FileError::Locked { .. })) && error.is_retryable(),
            "{error}"
        );
        assert_eq!(scene.keysets(), scene.before);
        keyring.rotate().unwrap();
    }
}

#[test]
fn failed_sync_is_not_forgotten_by_reopen_that_fails() {
    let world = World::new();
    let directory = world.scene(Operation::Open).directory;
    let keyring = open(&directory, &lazy(), &raw(7)).unwrap();
    directory.plan(failing(Kind::SyncDirectory));
    let error = file_error(&keyring.rotate().unwrap_err());
    assert!(!is_poisoned(&error), "{error:?}");
    assert!(is_poisoned(&file_error(&keyring.rotate().unwrap_err())));
    keyring.reopen(&raw(9)).unwrap_err();
    assert!(is_poisoned(&file_error(&keyring.rotate().unwrap_err())));
}
