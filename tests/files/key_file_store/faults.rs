//! Every system call of a load, a create and a replace fails in every way.

use crate::common::simulated_directory::{
    Call, EACCES, EAGAIN, EDQUOT, EINTR, EINVAL, EIO, ENOSPC, EROFS, Fault, Kind, Plan,
    SimulatedDirectory,
};
use crate::key_file_store::world::{self, LOCK, NAME, content};
use envelock::test_access::key_file::{FileAction, FileError, KeyFileError};
use std::collections::BTreeMap;

const LEN: usize = 3000;
const WRITE_LEN: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Load,
    Create,
    Replace,
}

const FAULTS: [Fault; 9] = [
    Fault::Error(EIO),
    Fault::Error(ENOSPC),
    Fault::Error(EDQUOT),
    Fault::Error(EINTR),
    Fault::Error(EROFS),
    Fault::Error(EACCES),
    Fault::Short(1),
    Fault::ErrorAfter(EIO),
    Fault::ErrorAfter(EINTR),
];

/// The expected outcome of a fault.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Success,
    Io(FileAction),
    NotDurable,
}

fn old(operation: Operation) -> Option<Vec<u8>> {
    (operation != Operation::Create).then(|| content(1, LEN))
}

fn perform(
    operation: Operation,
    store: &envelock::test_access::key_file::Store,
) -> Result<(), KeyFileError> {
    match operation {
        Operation::Load => {
            assert_eq!(store.load()?.bytes(), content(1, LEN));
            Ok(())
        }
        Operation::Create => world::write(store, true, &content(2, LEN)),
        Operation::Replace => world::write(store, false, &content(2, LEN)),
    }
}

/// What must come of `fault` at `call` of an operation.
fn expected(
    operation: Operation,
    (call, is_first_sync): (&Call, bool),
    fault: Fault,
) -> Option<Expected> {
    let is_after = matches!(fault, Fault::ErrorAfter(_));
    let is_interrupt = matches!(fault, Fault::Error(EINTR) | Fault::ErrorAfter(EINTR));
    let moves_bytes = matches!(call.kind, Kind::Read | Kind::Write);
    // Bytes that were moved are never reported as an error.
    if (is_after && moves_bytes) || (matches!(fault, Fault::Short(_)) && !moves_bytes) {
        return None;
    }
    let is_leftover = call.name.as_ref().is_some_and(|n| n.to_string_lossy().ends_with(".tmp"));
    Some(match call.kind {
        Kind::SyncFile => Expected::Io(FileAction::Sync),
        // A new file is not written where its directory turns out not to be synced.
        Kind::SyncDirectory
            if operation == Operation::Load
                || (operation == Operation::Create && is_first_sync) =>
        {
            Expected::Io(FileAction::SyncDirectory)
        }
        Kind::SyncDirectory => Expected::NotDurable,
        Kind::List | Kind::Unlink | Kind::Unlock => Expected::Success,
        Kind::StatName if is_leftover => Expected::Success,
        Kind::Rename if is_after => Expected::Success,
        _ if is_interrupt || matches!(fault, Fault::Short(_)) => Expected::Success,
        Kind::Open => Expected::Io(FileAction::Open),
        Kind::OpenWrite | Kind::OpenLock => Expected::Io(FileAction::OpenLock),
        Kind::Create => Expected::Io(FileAction::Create),
        Kind::StatName | Kind::StatFile => Expected::Io(FileAction::Inspect),
        Kind::Read => Expected::Io(FileAction::Read),
        Kind::Write => Expected::Io(FileAction::Write),
        Kind::Rename => Expected::Io(FileAction::Rename),
        Kind::TryLock => Expected::Io(FileAction::Lock),
        other => panic!("no store makes a call {other:?}"),
    })
}

fn found(result: &Result<(), KeyFileError>, fault: Fault) -> Expected {
    let (Fault::Error(code) | Fault::ErrorAfter(code)) = fault else {
        assert!(result.is_ok(), "{result:?}");
        return Expected::Success;
    };
    match result {
        Ok(()) => Expected::Success,
        Err(KeyFileError::File(FileError::Io { action, source, .. })) => {
            assert_eq!(source.raw_os_error(), Some(code));
            Expected::Io(*action)
        }
        Err(KeyFileError::File(FileError::NotDurable { source, .. })) => {
            assert_eq!(source.raw_os_error(), Some(code));
            Expected::NotDurable
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// One operation with one fault, and all checks of its outcome.
struct Case {
    operation: Operation,
    fault: Fault,
    call: Call,
    is_first_sync: bool,
    directory: SimulatedDirectory,
    result: Result<(), KeyFileError>,
    store: envelock::test_access::key_file::Store,
}

impl Case {
    fn run(operation: Operation, index: usize, fault: Fault, call: Call) -> Self {
        let directory = world::directory(old(operation).as_deref());
        directory.plan(Plan {
            faults: BTreeMap::from([(index, fault)]),
            most_at_once: Some(WRITE_LEN),
            ..Plan::default()
        });
        let store = world::store(&directory);
        let result = perform(operation, &store);
        let calls = directory.calls();
        let first = calls.iter().position(|call| call.kind == Kind::SyncDirectory);
        let is_first_sync = first == Some(index);
        Case { operation, fault, call, is_first_sync, directory, result, store }
    }

    fn check(&self) {
        let Some(expected) = expected(self.operation, (&self.call, self.is_first_sync), self.fault)
        else {
            return;
        };
        assert_eq!(found(&self.result, self.fault), expected);
        self.check_content(&expected);
        if self.operation != Operation::Load {
            self.check_leftovers();
        }
        self.check_poison();
        self.check_syncs();
        // A process that opens the file again can continue.
        let last = content(4, 50);
        let is_new = world::load(&self.directory).unwrap().is_none();
        world::write(&world::store(&self.directory), is_new, &last).unwrap();
        assert_eq!(world::load(&self.directory).unwrap(), Some(last));
    }

    /// Old after an error, new after success, and that after a crash at this moment too.
    fn check_content(&self, expected: &Expected) {
        let (old, new) = (old(self.operation), Some(content(2, LEN)));
        let allowed = match expected {
            _ if self.operation == Operation::Load => vec![&old],
            Expected::Success => vec![&new],
            Expected::Io(_) => vec![&old],
            Expected::NotDurable => vec![&old, &new],
        };
        let disk = self.directory.disk();
        let visible = disk.bytes(NAME.as_ref()).map(<[u8]>::to_vec);
        match expected {
            Expected::NotDurable => assert_eq!(visible, new),
            _ => assert_eq!(&visible, allowed[0]),
        }
        disk.crash(&mut |image| {
            let found = world::load(&SimulatedDirectory::from_disk(image)).unwrap();
            assert!(allowed.contains(&&found), "after a crash");
        });
    }

    fn check_leftovers(&self) {
        let left = world::temporary_names(&self.directory.disk());
        let wrote = self.directory.calls().iter().any(|call| call.kind == Kind::Create);
        match (self.call.kind, self.fault) {
            // Nothing was removed, or it is unknown what was created: the next writer cleans up.
            (
                Kind::Unlink | Kind::StatName | Kind::List,
                Fault::Error(_) | Fault::ErrorAfter(_),
            )
            | (Kind::Create, Fault::ErrorAfter(_)) => {}
            _ if wrote => assert_eq!(left, 0, "temporary files are left"),
            _ => assert_eq!(left, 2, "touched before the lock was held"),
        }
    }

    fn check_poison(&self) {
        let is_sync = |call: &&Call| call.kind == Kind::SyncDirectory;
        let calls = self.directory.calls();
        let sync = calls.iter().filter(is_sync).find(|call| call.failed).map(|call| call.kind);
        let is_poisoned = |error: &KeyFileError| matches!(error, KeyFileError::Poisoned { .. });
        let before = self.directory.calls().len();
        match sync {
            Some(Kind::SyncDirectory) => {
                let locked = self.store.lock(std::time::Duration::ZERO);
                assert!(is_poisoned(&locked.unwrap_err()));
                assert_eq!(self.directory.calls().len(), before, "no call after a failed sync");
            }
            _ => drop(self.store.lock(std::time::Duration::ZERO).unwrap()),
        }
        let loaded = self.store.load();
        match sync {
            Some(Kind::SyncDirectory) => assert!(is_poisoned(&loaded.unwrap_err())),
            _ if self.operation == Operation::Create && self.result.is_err() => {
                assert!(matches!(loaded, Err(KeyFileError::File(FileError::NotFound { .. }))));
            }
            _ => drop(loaded.unwrap()),
        }
    }

    /// No file and no directory is synced again once its sync failed.
    fn check_syncs(&self) {
        let calls = self.directory.calls();
        for (index, call) in calls.iter().enumerate().filter(|(_, call)| call.failed) {
            if matches!(call.kind, Kind::SyncFile | Kind::SyncDirectory) {
                let again = |c: &Call| (c.kind, c.inode) == (call.kind, call.inode);
                assert!(!calls[index + 1..].iter().any(again), "a failed sync was tried again");
            }
        }
    }
}

#[test]
fn every_call_fails_in_every_way() {
    let mut checked = 0;
    for operation in [Operation::Load, Operation::Create, Operation::Replace] {
        let directory = world::directory(old(operation).as_deref());
        directory.plan(Plan { most_at_once: Some(WRITE_LEN), ..Plan::default() });
        perform(operation, &world::store(&directory)).unwrap();
        for (index, call) in directory.calls().into_iter().enumerate() {
            for fault in FAULTS {
                println!("{operation:?}, call {index} {call:?}, {fault:?}");
                let case = Case::run(operation, index, fault, call.clone());
                assert!(case.directory.calls().len() > index, "the call was made");
                case.check();
                checked += 1;
            }
        }
    }
    println!("{checked} faults");
    assert!(checked > 300);
}

/// A write that moves nothing and says so would go on permanently.
#[test]
fn write_of_nothing_is_an_error() {
    let case = failing_once(Kind::Write, Fault::Short(0));
    let Err(KeyFileError::File(FileError::Io { action: FileAction::Write, source, .. })) =
        &case.result
    else {
        panic!("{:?}", case.result);
    };
    assert_eq!(source.kind(), std::io::ErrorKind::WriteZero);
    case.check_content(&Expected::Io(FileAction::Write));
    case.check_leftovers();
}

#[test]
fn lock_of_another_process_is_a_retryable_error() {
    let case = failing_once(Kind::TryLock, Fault::Error(EAGAIN));
    let error = case.result.unwrap_err();
    assert!(
        matches!(&error, KeyFileError::File(FileError::Locked { path, .. }) if path.ends_with(LOCK))
    );
    assert!(error.is_retryable());
}

/// File systems that cannot sync a directory can be read from and not written to.
#[test]
fn directory_that_cannot_be_synced_can_be_read() {
    let directory = world::directory(Some(&content(1, LEN)));
    let store = world::store(&directory);
    store.load().unwrap();
    let sync = directory.calls().iter().position(|c| c.kind == Kind::SyncDirectory).unwrap();
    let faults = BTreeMap::from([(sync, Fault::Error(EINVAL))]);
    directory.plan(Plan { faults, ..Plan::default() });
    store.load().unwrap();
    assert!(directory.calls()[sync].failed);
    store.load().unwrap();
    let case = failing_once(Kind::SyncDirectory, Fault::Error(EINVAL));
    assert!(matches!(case.result, Err(KeyFileError::File(FileError::NotDurable { .. }))));
}

/// A replacement of which the first call of `kind` fails.
fn failing_once(kind: Kind, fault: Fault) -> Case {
    let directory = world::directory(old(Operation::Replace).as_deref());
    directory.plan(Plan { most_at_once: Some(WRITE_LEN), ..Plan::default() });
    perform(Operation::Replace, &world::store(&directory)).unwrap();
    let calls = directory.calls();
    let index = calls.iter().position(|call| call.kind == kind).unwrap();
    Case::run(Operation::Replace, index, fault, calls[index].clone())
}

/// The temporary file is thrown away with what the kernel forgot of it, and the next change makes
/// another one.
#[test]
fn failed_sync_of_a_temporary_file_is_not_final() {
    for code in [EIO, ENOSPC, EDQUOT] {
        let case = failing_once(Kind::SyncFile, Fault::Error(code));
        let error = case.result.as_ref().unwrap_err();
        assert!(
            matches!(error, KeyFileError::File(FileError::Io { action: FileAction::Sync, .. })),
            "{error}"
        );
        assert_eq!(error.is_retryable(), code != EIO);
        world::write(&case.store, false, &content(3, LEN)).unwrap();
        assert_eq!(case.store.load().unwrap().bytes(), content(3, LEN));
    }
}

/// Whether `file` is retried or not: nothing is made that could not be made to last.
#[test]
fn directory_that_cannot_be_synced_gets_no_new_file() {
    let directory = world::directory(None);
    let store = world::store(&directory);
    directory.plan(Plan::default());
    world::write(&store, true, b"new").unwrap();
    let calls = directory.calls();
    let sync = calls.iter().position(|call| call.kind == Kind::SyncDirectory).unwrap();

    let directory = world::directory(None);
    let names = directory.disk().list().len();
    let faults = BTreeMap::from([(sync, Fault::Error(EINVAL))]);
    directory.plan(Plan { faults, ..Plan::default() });
    let error = world::write(&world::store(&directory), true, b"new").unwrap_err();
    let KeyFileError::File(FileError::Io { action: FileAction::SyncDirectory, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(directory.disk().list().len(), names + 1, "the lock");
}

/// `ENOSYS`, `ENOLCK`, `EOPNOTSUPP`: reading goes on, and no file is left behind.
#[test]
fn file_system_without_locks_is_read_and_not_written() {
    for code in [38, 37, 95] {
        for operation in [Operation::Create, Operation::Replace] {
            let directory = world::directory(old(operation).as_deref());
            let names = directory.disk().list();
            directory.plan(Plan::default());
            perform(operation, &world::store(&directory)).unwrap();
            let lock = directory.calls().iter().position(|c| c.kind == Kind::TryLock).unwrap();

            let directory = world::directory(old(operation).as_deref());
            let faults = BTreeMap::from([(lock, Fault::Error(code))]);
            directory.plan(Plan { faults, ..Plan::default() });
            let store = world::store(&directory);
            let error = perform(operation, &store).unwrap_err();
            let KeyFileError::File(FileError::NoLocks { path, source }) = &error else {
                panic!("{error:?}")
            };
            assert!(path.ends_with(LOCK) && source.raw_os_error() == Some(code));
            assert!(!error.is_retryable());
            assert_eq!(directory.disk().list(), names);
            if operation == Operation::Replace {
                assert_eq!(store.load().unwrap().bytes(), content(1, LEN));
            }
        }
    }
}
