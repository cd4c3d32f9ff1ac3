//! Messages in files while the system fails: an error of each kind at each call is an error with
//! a type or none at all, and never a message lost; and what a rewrap in place touches at all.

#![cfg(all(feature = "file", unix))]

use crate::common::elastic;
use crate::common::simulated_directory;

mod schedules;

use elastic::Elastic;
use envelock::test_access::key_file::{Directory, FileKind};
use envelock::test_access::message_file::{
    decrypt_file_in, decrypt_from_in, encrypt_file_in, encrypt_file_with_in, open_in,
    reencrypt_file_in, rewrap_file_in,
};
use envelock::{
    Aad, Envelope, Error, RewrapOptions,
    file::{FileChange, FileError, MessageFileError, NewFileOptions},
    inspect,
};
use simulated_directory::disk::Disk;
use simulated_directory::{
    EACCES, EDQUOT, EINTR, EIO, ENOSPC, EROFS, Fault, Kind, Lacks, Plan, SimulatedDirectory, USER,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::sync::Arc;

const NAME: &str = "order.message";
const OUT: &str = "order.text";
const ROW: Aad<'static> = Aad::new(b"row");
const TEXT: [u8; 200] = [0x5a; 200];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    InPlace,
    Copy,
    /// The rewrap of what another one left when it was killed.
    Mend,
    Unchanged,
    Reencrypt,
    Encrypt,
    Decrypt,
    /// Of a message that is in no file.
    DecryptFrom,
}

struct Scene {
    operation: Operation,
    envelope: Envelope<Elastic>,
    message: Vec<u8>,
    disk: Disk,
}

impl Scene {
    fn new(operation: Operation) -> Self {
        let growth = if operation == Operation::Copy { 24 } else { 0 };
        let envelope = Envelope::new(Elastic::new(72, growth));
        let directory = SimulatedDirectory::new();
        let message = envelope.encrypt(&TEXT, ROW).unwrap();
        if operation != Operation::Encrypt {
            directory.plant(NAME, FileKind::Regular, &message, 0o600, USER);
        }
        if operation != Operation::Unchanged {
            envelope.keyring().promote(2);
        }
        let mut scene = Scene { operation, envelope, message, disk: directory.disk() };
        if operation == Operation::Mend {
            scene.disk = scene.torn();
        }
        scene
    }

    /// A rewrap in place that was killed in the middle of its write.
    fn torn(&self) -> Disk {
        let directory = self.directory();
        directory.plan(Plan { record_disks: true, most_at_once: Some(60), ..Plan::default() });
        self.rewrap(&directory).unwrap();
        let calls = directory.calls();
        let write = calls.iter().position(|call| call.kind == Kind::WriteAt).unwrap();
        directory.recorded_disks()[write + 1].clone()
    }

    fn directory(&self) -> SimulatedDirectory {
        SimulatedDirectory::from_disk(self.disk.clone())
    }

    fn rewrap(&self, directory: &SimulatedDirectory) -> Result<FileChange, Error> {
        let directory = Arc::new(directory.clone());
        let name = OsStr::new(NAME);
        let done = rewrap_file_in(&self.envelope, directory, name, RewrapOptions::new());
        done.map(|done| done.change())
    }

    fn perform(&self, directory: &SimulatedDirectory) -> Result<(), Error> {
        let shared: Arc<dyn Directory> = Arc::new(directory.clone());
        let (name, out) = (OsStr::new(NAME), OsStr::new(OUT));
        match self.operation {
            Operation::Encrypt => {
                encrypt_file_in(&self.envelope, &TEXT[..], shared, name, ROW).map(drop)
            }
            Operation::Decrypt => {
                decrypt_file_in(&self.envelope, &shared, name, out, ROW).map(drop)
            }
            Operation::DecryptFrom => {
                let message = &self.message[..];
                decrypt_from_in(&self.envelope, message, shared, out, ROW).map(drop)
            }
            Operation::Reencrypt => {
                let old = open_in(shared.clone(), name)?.header().to_vec();
                reencrypt_file_in(&self.envelope, shared, name, &old, ROW).map(drop)
            }
            _ => self.rewrap(directory).map(drop),
        }
    }

    /// The names that a success leaves.
    fn names(&self) -> &'static [&'static str] {
        match self.operation {
            Operation::Decrypt | Operation::DecryptFrom => &[NAME, OUT],
            _ => &[NAME],
        }
    }

    /// Whatever happened: the message opens, and a new file is there as a whole or not at all.
    fn check(&self, directory: &SimulatedDirectory, is_done: bool) {
        directory.plan(Plan::default());
        match open_in(Arc::new(directory.clone()), OsStr::new(NAME)) {
            Ok(mut file) => {
                let mut message = Vec::new();
                file.read_to_end(&mut message).unwrap();
                assert_eq!(self.envelope.decrypt(&message, ROW).unwrap(), TEXT);
            }
            Err(error)
                if matches!(
                    error.backend(),
                    Some(MessageFileError::File(FileError::NotFound { .. }))
                ) =>
            {
                assert!(self.operation == Operation::Encrypt && !is_done);
            }
            Err(error) => panic!("{error:?}"),
        }
        let text = directory.disk().bytes(OsStr::new(OUT)).map(<[u8]>::to_vec);
        assert!(text.is_none_or(|text| text == TEXT));
    }

    /// The next attempt succeeds, if there is anything left to do, and tidies up.
    fn go_on(&self, directory: &SimulatedDirectory) {
        match self.perform(directory) {
            Ok(()) => {}
            // It was done, and an error was all that came of it.
            Err(error)
                if matches!(
                    error.backend(),
                    Some(MessageFileError::File(FileError::Exists { .. }))
                ) => {}
            Err(error) => panic!("{error:?}"),
        }
        self.check(directory, true);
        assert_eq!(directory.disk().list(), self.names());
    }
}

fn is_typed(error: &Error, fault: Fault) -> bool {
    let Some(error) = error.backend::<MessageFileError>() else { return false };
    let is_ours = |source: &std::io::Error| match fault {
        Fault::Error(code) | Fault::ErrorAfter(code) => {
            // A call that was done, and is done again because its result got lost.
            source.raw_os_error() == Some(code)
                || (code == EINTR && source.kind() == std::io::ErrorKind::AlreadyExists)
        }
        Fault::Short(_) => source.kind() == std::io::ErrorKind::WriteZero,
    };
    match error {
        MessageFileError::File(FileError::Io { source, .. })
        | MessageFileError::File(FileError::NotDurable { source, .. }) => is_ours(source),
        _ => false,
    }
}

#[test]
fn error_of_each_kind_at_each_call_loses_nothing() {
    let codes = [EIO, ENOSPC, EDQUOT, EINTR, EROFS, EACCES];
    let faults: Vec<Fault> = codes
        .iter()
        .map(|code| Fault::Error(*code))
        .chain([Fault::ErrorAfter(EIO), Fault::ErrorAfter(EINTR), Fault::Short(1), Fault::Short(0)])
        .collect();
    let operations = [
        Operation::InPlace,
        Operation::Copy,
        Operation::Mend,
        Operation::Unchanged,
        Operation::Reencrypt,
        Operation::Encrypt,
        Operation::Decrypt,
        Operation::DecryptFrom,
    ];
    let unnamed = Lacks { unnamed: true, ..Lacks::default() };
    let neither = Lacks { moves: true, ..unnamed };
    let with_lacks = |lacks| operations.into_iter().map(move |operation| (operation, lacks));
    for (operation, lacks) in [Lacks::default(), unnamed, neither].into_iter().flat_map(with_lacks)
    {
        let scene = Scene::new(operation);
        let directory = scene.directory().lacking(lacks);
        directory.plan(Plan::default());
        scene.perform(&directory).unwrap();
        let calls = directory.calls();
        scene.check(&directory, true);
        assert_eq!(directory.disk().list(), scene.names());
        let (mut cases, mut errors) = (0, 0);
        for index in 0..calls.len() {
            for &fault in &faults {
                // A read of nothing is the end of the file, and no fault.
                let writes = matches!(calls[index].kind, Kind::Write | Kind::WriteAt);
                // No system writes and then says that it was interrupted.
                let is_none = calls[index].kind == Kind::Write && fault == Fault::ErrorAfter(EINTR);
                if is_none || (fault == Fault::Short(0) && !writes) {
                    continue;
                }
                let directory = scene.directory().lacking(lacks);
                let faults = BTreeMap::from([(index, fault)]);
                directory.plan(Plan { faults, cleans_failed_syncs: true, ..Plan::default() });
                let outcome = scene.perform(&directory);
                let failed = directory.calls();
                let is_sync = |kind| matches!(kind, Kind::SyncFile | Kind::SyncDirectory);
                if is_sync(calls[index].kind) && matches!(fault, Fault::Error(_)) {
                    // Never tried again, and never passed over.
                    assert!(outcome.is_err(), "{operation:?} {index} {fault:?}");
                    assert!(!failed[index + 1..].iter().any(|call| is_sync(call.kind)));
                }
                if let Err(error) = &outcome {
                    let at = calls[index].kind;
                    assert!(is_typed(error, fault), "{operation:?} {at:?} {fault:?}: {error:?}");
                    errors += 1;
                }
                scene.check(&directory, outcome.is_ok());
                scene.go_on(&directory);
                cases += 1;
            }
        }
        println!("{operation:?}, {lacks:?}: {} calls, {cases} cases, {errors} errors", calls.len());
        assert!(errors > cases / 5);
    }
}

/// The bytes read and written do not depend on the body, of which no byte is touched.
#[test]
fn rewrap_in_place_touches_the_header_alone() {
    let mut counts = Vec::new();
    for len in [0, 200, 5_000_000] {
        let envelope = Envelope::new(Elastic::new(72, 0)).with_reserved(1_000);
        let message = envelope.encrypt(&vec![7; len], ROW).unwrap();
        let header_len = inspect(&message).unwrap().len() as u64;
        let directory = SimulatedDirectory::new();
        directory.plant(NAME, FileKind::Regular, &message, 0o600, USER);
        let inode = directory.disk().lookup(OsStr::new(NAME));
        envelope.keyring().promote(2);
        directory.plan(Plan::default());
        let shared = Arc::new(directory.clone());
        let name = OsStr::new(NAME);
        let done = rewrap_file_in(&envelope, shared, name, RewrapOptions::new()).unwrap();
        assert_eq!(done.change(), FileChange::InPlace);
        let calls = directory.calls();
        for call in calls.iter().filter(|call| call.inode == inode) {
            assert!(!matches!(call.kind, Kind::Read | Kind::Write), "{call:?}");
            if let Some((offset, len)) = call.range {
                assert!(offset + len as u64 <= header_len, "{call:?}");
            }
        }
        let syncs = |kind| calls.iter().filter(|call| call.kind == kind).count();
        assert_eq!((syncs(Kind::SyncFile), syncs(Kind::SyncDirectory)), (2, 1));
        counts.push(calls.iter().map(|call| call.kind).collect::<Vec<_>>());
        assert_eq!(directory.disk().inodes[&inode.unwrap()].visible.bytes().len(), message.len());
    }
    println!("{} calls: {:?}", counts[0].len(), counts[0]);
    assert!(counts.iter().all(|calls| *calls == counts[0]));
}

/// A header that changes hands while it is rewrapped is not overwritten.
#[test]
fn write_without_the_lock_stays() {
    for operation in [Operation::InPlace, Operation::Copy, Operation::Reencrypt] {
        let scene = Scene::new(operation);
        let other = Envelope::new(Elastic::new(72, 0)).encrypt(b"another", ROW).unwrap();
        let directory = scene.directory();
        directory.plan(Plan::default());
        scene.perform(&directory).unwrap();
        let calls = directory.calls();
        let inode = scene.disk.lookup(OsStr::new(NAME));
        let lock = calls.iter().position(|call| call.kind == Kind::TryLock).unwrap();
        // The first read under the lock decides; the last is the check.
        let reads: Vec<usize> = (lock..calls.len())
            .filter(|i| calls[*i].kind == Kind::ReadAt && calls[*i].inode == inode)
            .collect();
        let mut refused = 0;
        for index in reads[1] + 1..=reads[reads.len() - 2] {
            let directory = scene.directory();
            let edits = BTreeMap::from([(index, (NAME.into(), other.clone()))]);
            directory.plan(Plan { edits, ..Plan::default() });
            let error = scene.perform(&directory).unwrap_err();
            let is_changed =
                matches!(error.backend(), Some(MessageFileError::File(FileError::Changed { .. })));
            // A body that is read while it changes is the body of no message.
            let is_torn = operation == Operation::Reencrypt && !matches!(error, Error::Backend(_));
            assert!(
                is_torn || (is_changed && error.is_retryable()),
                "{operation:?} {index}: {error:?}"
            );
            assert_eq!(directory.disk().bytes(OsStr::new(NAME)), Some(&other[..]));
            assert_eq!(directory.disk().list(), [NAME]);
            refused += 1;
        }
        println!("{operation:?}: {refused} moments");
        assert!(refused > 5);
    }
}

/// A file that loses its name while it is rewrapped is not the one that the caller goes by: never is
/// it said to be rewrapped, whenever that happens before the last look at the name.
#[test]
fn file_that_loses_its_name_is_not_reported_rewrapped() {
    for operation in [Operation::InPlace, Operation::Mend] {
        let scene = Scene::new(operation);
        let directory = scene.directory();
        directory.plan(Plan::default());
        scene.rewrap(&directory).unwrap();
        let calls = directory.calls();
        let lock = calls.iter().position(|call| call.kind == Kind::TryLock).unwrap();
        let of_name = |call: &simulated_directory::Call| {
            call.kind == Kind::StatName && call.name.as_deref() == Some(OsStr::new(NAME))
        };
        let last = calls.iter().rposition(of_name).unwrap();
        let written = calls.iter().rposition(|call| call.kind == Kind::WriteAt).unwrap();
        assert!(written < last, "{operation:?}: no look at the name after the write");
        for index in lock..=last {
            let directory = scene.directory();
            let removals = BTreeMap::from([(index, NAME.into())]);
            directory.plan(Plan { removals, ..Plan::default() });
            let error = scene.rewrap(&directory).unwrap_err();
            assert!(
                error.backend::<MessageFileError>().is_some(),
                "{operation:?} {index}: {error:?}"
            );
        }
    }
}

/// The lock of a file that is replaced during the wait locks nothing.
#[test]
fn file_that_loses_its_name_before_lock_is_reopened() {
    let scene = Scene::new(Operation::InPlace);
    let directory = scene.directory();
    directory.plan(Plan::default());
    scene.rewrap(&directory).unwrap();
    let lock = directory.calls().iter().position(|call| call.kind == Kind::TryLock).unwrap();

    let directory = scene.directory();
    let removals = BTreeMap::from([(lock, NAME.into())]);
    directory.plan(Plan { removals, ..Plan::default() });
    let error = scene.rewrap(&directory).unwrap_err();
    assert!(
        matches!(error.backend(), Some(MessageFileError::File(FileError::NotFound { .. }))),
        "{error:?}"
    );
    let written = directory.calls().iter().any(|call| call.kind == Kind::WriteAt);
    assert!(!written);
}

/// The journal of a torn header is lost with the write that tore it.
#[test]
fn reader_that_misses_journal_reads_header_again() {
    let scene = Scene::new(Operation::Mend);
    let name = OsStr::new(NAME);
    let torn = scene.disk.bytes(name).unwrap().to_vec();
    let directory = scene.directory();
    scene.rewrap(&directory).unwrap();
    let whole = directory.disk().bytes(name).unwrap().to_vec();
    assert_ne!(torn, whole);

    // Of the two reads of a header the first sees it torn, and by then the journal is removed.
    let directory = SimulatedDirectory::new();
    directory.plant(NAME, FileKind::Regular, &torn, 0o600, USER);
    directory.plan(Plan::default());
    drop(open_in(Arc::new(directory.clone()), name).unwrap());
    let opens: Vec<usize> = (0..directory.calls().len())
        .filter(|index| directory.calls()[*index].kind == Kind::Open)
        .collect();
    let edits = BTreeMap::from([(opens[1], (NAME.into(), whole.clone()))]);
    directory.plan(Plan { edits, ..Plan::default() });
    let mut file = open_in(Arc::new(directory.clone()), name).unwrap();
    let mut message = Vec::new();
    file.read_to_end(&mut message).unwrap();
    assert_eq!(message, whole);
}

/// New files need no lock, no number of a file and no sync of a directory; a rewrap says what it lacks.
#[test]
fn missing_ability_of_file_system_is_reported() {
    let lacks = Lacks { unnamed: true, ..Lacks::default() };
    let systems = [
        Lacks { locks: true, ..lacks },
        Lacks { identity: true, ..lacks },
        Lacks { directory_syncs: true, ..lacks },
        Lacks { links: true, ..lacks },
        Lacks { moves: true, ..lacks },
    ];
    for (lacks, operation) in systems.into_iter().flat_map(|lacks| {
        use Operation::{Copy, Decrypt, Encrypt, InPlace, Reencrypt};
        [InPlace, Copy, Reencrypt, Encrypt, Decrypt].map(|operation| (lacks, operation))
    }) {
        let scene = Scene::new(operation);
        let directory = scene.directory().lacking(lacks);
        let is_rewrap = !matches!(operation, Operation::Encrypt | Operation::Decrypt);
        match scene.perform(&directory) {
            Ok(()) => {
                assert!(!is_rewrap || !(lacks.locks || lacks.identity));
                scene.check(&directory, true);
                assert_eq!(directory.disk().list(), scene.names());
            }
            Err(error) => {
                assert!(is_rewrap && !error.is_retryable(), "{operation:?}, {lacks:?}: {error:?}");
                let is_expected = match error.backend() {
                    Some(MessageFileError::File(FileError::NoLocks { .. })) => lacks.locks,
                    Some(MessageFileError::File(FileError::UnstableIdentity { .. })) => {
                        lacks.identity
                    }
                    _ => false,
                };
                assert!(is_expected, "{error:?}");
                let locks = directory.calls().into_iter().filter(|call| call.kind == Kind::TryLock);
                assert!(locks.count() < 10, "no wait without a writer");
                assert_eq!(directory.disk().list(), [NAME]);
            }
        }
    }
}

/// Who waits for a lock begins to count again: many who replace one file are not a file system without
/// numbers of files.
#[test]
fn file_replaced_during_lock_wait_is_detected() {
    let scene = Scene::new(Operation::InPlace);
    let lacks = Lacks { identity: true, ..Lacks::default() };
    let directory = scene.directory().lacking(lacks);
    let locks = |directory: &SimulatedDirectory| {
        let calls = directory.calls();
        let is_lock = |index: &usize| calls[*index].kind == Kind::TryLock;
        (0..calls.len()).filter(is_lock).collect::<Vec<_>>()
    };
    drop(scene.perform(&directory).unwrap_err());
    let usual = locks(&directory);
    let directory = scene.directory().lacking(lacks);
    let locked = Fault::Error(rustix::io::Errno::WOULDBLOCK.raw_os_error());
    directory.plan(Plan { faults: BTreeMap::from([(usual[4], locked)]), ..Plan::default() });
    let error = scene.perform(&directory).unwrap_err();
    assert!(
        matches!(error.backend(), Some(MessageFileError::File(FileError::UnstableIdentity { .. }))),
        "{error:?}"
    );
    assert_eq!(locks(&directory).len(), 5 + usual.len());
}

/// Where nothing keeps a file from being replaced, only who asks for that gets it.
#[test]
fn replace_only_file_system_refuses_in_place() {
    let lacks = Lacks { unnamed: true, moves: true, links: true, ..Lacks::default() };
    for operation in [Operation::Encrypt, Operation::Decrypt] {
        let scene = Scene::new(operation);
        let directory = scene.directory().lacking(lacks);
        let before = directory.disk().list();
        let error = scene.perform(&directory).unwrap_err();
        let Some(MessageFileError::File(FileError::Io { source, .. })) = error.backend() else {
            panic!()
        };
        assert_eq!(source.kind(), std::io::ErrorKind::Unsupported);
        assert_eq!(directory.disk().list(), before);
        let (shared, to) = (Arc::new(directory.clone()), OsStr::new(OUT));
        let options = NewFileOptions::new().replace();
        let envelope = &scene.envelope;
        for _ in 0..2 {
            encrypt_file_with_in(envelope, &TEXT[..], shared.clone(), to, ROW, options).unwrap();
        }
        let bytes = directory.disk().bytes(to).unwrap().to_vec();
        assert_eq!(envelope.decrypt(&bytes, ROW).unwrap(), TEXT);
        assert_eq!(directory.disk().list().len(), before.len() + 1);
    }
}
