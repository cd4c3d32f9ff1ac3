//! The whole file keyring under failing calls: every system call of every operation fails in
//! every way, and what is promised afterwards is kept.

#![cfg(all(feature = "file", unix))]

use crate::common::simulated_directory;

use crate::key_file_crashes::disk_checker;
use crate::key_file_crashes::operations;
mod races;

use disk_checker::{DiskChecker, is_tidy};
use envelock::test_access::key_file::{FileAction, FileError, KeyFileError};
use envelock::{Error, FileKeyring, Lifecycle, keyset::KeysetMap};
use operations::{
    KEY, Message, NAME, Operation, PRIMARY, Scene, World, decrypt, encrypt, file_error, open_any,
    raw,
};
use simulated_directory::{
    Call, EACCES, EDQUOT, EINTR, EIO, ENOSPC, EROFS, Fault, Kind, Plan, SimulatedDirectory,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;

const WRITE_LEN: usize = 1024;

const OPERATIONS: [Operation; 13] = [
    Operation::Open,
    Operation::Create,
    Operation::Rotate,
    Operation::Disable,
    Operation::DestroyNow,
    Operation::DestroyDue,
    Operation::RawKey,
    Operation::AddProtection,
    Operation::RewrapProtection,
    Operation::RemoveProtection,
    Operation::FirstWrap,
    Operation::GiveBack,
    Operation::Reload,
];

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Success,
    Io(FileAction),
    NotDurable,
}

/// What must come of `fault` at the call `index` of an operation that succeeds by `calls`; `None`
/// if no system does that.
fn expected(operation: Operation, calls: &[Call], index: usize, fault: Fault) -> Option<Expected> {
    let call = &calls[index];
    let is_after = matches!(fault, Fault::ErrorAfter(_));
    let is_interrupt = matches!(fault, Fault::Error(EINTR) | Fault::ErrorAfter(EINTR));
    let moves_bytes = matches!(call.kind, Kind::Read | Kind::Write);
    if (is_after && moves_bytes) || (matches!(fault, Fault::Short(_)) && !moves_bytes) {
        return None;
    }
    let is_leftover = call.name.as_ref().is_some_and(|n| n.to_string_lossy().ends_with(".tmp"));
    let was_moved = calls[..index].iter().any(|call| call.kind == Kind::Rename);
    Some(match call.kind {
        Kind::SyncFile => Expected::Io(FileAction::Sync),
        Kind::SyncDirectory if was_moved => Expected::NotDurable,
        Kind::SyncDirectory => Expected::Io(FileAction::SyncDirectory),
        Kind::List | Kind::Unlink | Kind::Unlock => Expected::Success,
        Kind::StatName if is_leftover => Expected::Success,
        // The file is there: what it is known again by can wait.
        Kind::StatName if was_moved && operation != Operation::Reload => Expected::Success,
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
        other => panic!("no key file makes a call {other:?}"),
    })
}

/// The actual outcome.
fn outcome(result: &Result<(), Error>, fault: Fault) -> Expected {
    let Err(error) = result else { return Expected::Success };
    let (Fault::Error(code) | Fault::ErrorAfter(code)) = fault else { panic!("{error:?}") };
    let (expected, source) = match file_error(error) {
        KeyFileError::File(FileError::Io { action, source, .. }) => (Expected::Io(action), source),
        KeyFileError::File(FileError::NotDurable { source, .. }) => (Expected::NotDurable, source),
        other => panic!("{other:?}"),
    };
    assert_eq!(source.raw_os_error(), Some(code), "{error:?}");
    expected
}

fn is_sync(call: &Call) -> bool {
    matches!(call.kind, Kind::SyncFile | Kind::SyncDirectory)
}

/// Operations that fail, and what is checked of each.
struct Faults {
    world: World,
    cases: usize,
    errors: usize,
    not_durable: usize,
    images: usize,
    wraps: usize,
}

/// One operation with one fault.
struct Case {
    scene: Scene,
    expected: Expected,
    /// The content of the file if the operation succeeds.
    after: Option<KeysetMap>,
    /// Which sync failed, if one did.
    failed_sync: Option<Kind>,
}

impl Faults {
    fn new() -> Self {
        Faults { world: World::new(), cases: 0, errors: 0, not_durable: 0, images: 0, wraps: 0 }
    }

    fn run(&mut self, operation: Operation) {
        let mut model = self.world.scene(operation);
        model.directory.plan(Plan { most_at_once: Some(WRITE_LEN), ..Plan::default() });
        model.perform().unwrap();
        let calls = model.directory.calls();
        for index in 0..calls.len() {
            for fault in FAULTS {
                let Some(expected) = expected(operation, &calls, index, fault) else { continue };
                println!("{operation:?}, call {index} {:?}, {fault:?}", calls[index]);
                self.case(operation, index, fault, expected);
            }
        }
    }

    fn case(&mut self, operation: Operation, index: usize, fault: Fault, expected: Expected) {
        let mut scene = self.world.scene(operation);
        scene.directory.plan(Plan {
            faults: BTreeMap::from([(index, fault)]),
            most_at_once: Some(WRITE_LEN),
            forgets_failed_syncs: true,
            ..Plan::default()
        });
        let result = scene.perform();
        // A drop has no result.
        if operation != Operation::GiveBack {
            assert_eq!(outcome(&result, fault), expected);
        }
        let calls = scene.directory.calls();
        assert!(calls.len() > index, "the call was made");
        check_syncs(&calls);
        // A temporary file that could not be synced is thrown away.
        let is_final = |c: &&Call| c.failed && c.kind == Kind::SyncDirectory;
        let failed_sync = calls.iter().find(is_final).map(|call| call.kind);
        let after = snapshot(&scene).keysets();
        let case = Case { scene, expected, after, failed_sync };
        case.check_visible();
        if matches!(fault, Fault::Error(EIO | EINTR) | Fault::ErrorAfter(EIO)) {
            self.images += case.check_crashes(None);
        }
        self.wraps += case.check_keyring();
        case.check_next();
        self.cases += 1;
        self.errors += usize::from(expected != Expected::Success);
        self.not_durable += usize::from(expected == Expected::NotDurable);
    }
}

/// No file is synced twice, and nothing is synced again whose sync failed.
fn check_syncs(calls: &[Call]) {
    for (index, call) in calls.iter().enumerate().filter(|(_, call)| is_sync(call)) {
        let again = |c: &Call| (c.kind, c.inode) == (call.kind, call.inode);
        let is_final = call.failed || call.kind == Kind::SyncFile;
        assert!(!is_final || !calls[index + 1..].iter().any(again), "synced again: {call:?}");
    }
}

/// The same disk in other hands, so that looking at it is no call of the case's.
fn snapshot(scene: &Scene) -> Scene {
    let directory = SimulatedDirectory::from_disk(scene.directory.disk());
    let (messages, before) = (scene.messages.clone(), scene.before.clone());
    Scene { operation: scene.operation, directory, messages, keyring: None, before }
}

impl Case {
    /// Old after an error, new after success, either if it is unknown.
    fn allows(&self, found: &Option<KeysetMap>) -> bool {
        let is_new = *found == self.after;
        let is_old = *found == self.scene.before;
        match self.expected {
            Expected::Success => is_new,
            Expected::Io(_) => is_old,
            Expected::NotDurable => is_old || is_new,
        }
    }

    fn check_visible(&self) {
        let changes = !matches!(self.scene.operation, Operation::Open | Operation::Reload);
        let is_changed = self.after != self.scene.before;
        match self.expected {
            // A drop that is refused leaves the count too high.
            Expected::Success | Expected::NotDurable => assert_eq!(is_changed, changes),
            Expected::Io(_) => assert!(!is_changed),
        }
    }

    /// After a crash at this moment; `message` was encrypted since.
    fn check_crashes(&self, message: Option<&Message>) -> usize {
        let messages = self.scene.messages.iter().chain(message).cloned().collect();
        let mut check = DiskChecker::new(self.scene.operation.protections(), messages);
        let mut images = 0;
        self.scene.directory.disk().crash(&mut |image| {
            images += 1;
            let found = check.found(&image).unwrap().map(|found| (*found).clone());
            assert!(self.allows(&found), "after a crash: {found:?}");
        });
        images
    }

    /// A keyring that got the error keeps reading; it wraps under what is durable or not at all.
    fn check_keyring(&self) -> usize {
        let Some(keyring) = self.scene.keyring.as_ref() else { return 0 };
        self.check_old_messages(keyring);
        let mut wraps = self.check_wrap(keyring);
        let before = self.scene.directory.calls().len();
        let rotated = keyring.rotate();
        if self.failed_sync.is_some() {
            let error = file_error(&rotated.unwrap_err());
            assert!(matches!(error, KeyFileError::Poisoned { .. }), "{error:?}");
            assert_eq!(self.scene.directory.calls().len(), before, "no call after a failed sync");
            let error = keyring.replace_file_key(&[&raw(9)]).unwrap_err();
            assert!(matches!(file_error(&error), KeyFileError::Poisoned { .. }));
            // A file that is still the one that was loaded needs no promise.
            let reloaded = keyring.reload();
            let is_another =
                self.expected == Expected::NotDurable || self.scene.operation == Operation::Reload;
            let is_doubtful = self.failed_sync == Some(Kind::SyncDirectory) && is_another;
            assert_eq!(reloaded.is_err(), is_doubtful);
            wraps += self.check_wrap(keyring);
            if let Err(error) = reloaded {
                assert!(matches!(file_error(&error), KeyFileError::Poisoned { .. }));
                let error = file_error(&encrypt(keyring).unwrap_err());
                assert!(matches!(error, KeyFileError::Poisoned { .. }), "{error:?}");
            }
        } else {
            rotated.unwrap();
            wraps += usize::from(encrypt(keyring).is_ok());
        }
        self.check_old_messages(keyring);
        check_syncs(&self.scene.directory.calls());
        wraps
    }

    fn check_old_messages(&self, keyring: &FileKeyring) {
        let known = keyring.versions().last().unwrap().version;
        for message in &self.scene.messages {
            match decrypt(keyring, &message.bytes) {
                Ok(text) => assert_eq!(text, operations::TEXT),
                Err(Error::Refused { .. }) => assert!(message.version.number() <= 3),
                // Another's, which this keyring did not learn of.
                Err(error) if message.version > known => {
                    assert!(matches!(file_error(&error), KeyFileError::Poisoned { .. }));
                    assert_eq!(self.failed_sync, Some(Kind::SyncDirectory));
                }
                Err(error) => panic!("version {}: {error:?}", message.version),
            }
        }
        let primary = self.scene.messages.get(PRIMARY as usize - 1);
        assert!(primary.is_none_or(|message| decrypt(keyring, &message.bytes).is_ok()));
    }

    /// If the keyring wraps, then under a version that no crash takes.
    fn check_wrap(&self, keyring: &FileKeyring) -> usize {
        let bytes = match encrypt(keyring) {
            Ok(bytes) => bytes,
            Err(error) => {
                let error = file_error(&error);
                assert!(matches!(error, KeyFileError::Poisoned { .. }), "{error:?}");
                return 0;
            }
        };
        let message = Message::of(bytes);
        let mut check = DiskChecker::new(self.scene.operation.protections(), vec![message]);
        let mut last = None;
        self.scene.directory.disk().crash(&mut |image| {
            let key_file = image.bytes(OsStr::new(NAME)).map(<[u8]>::to_vec);
            if last != Some(key_file.clone()) {
                last = Some(key_file);
                let found = check.found(&image).unwrap().expect("a file");
                let primary = found.keyset(KEY).unwrap().primary_record().unwrap();
                let counts = self.scene.operation.counts();
                assert!(!counts || primary.usage.wraps > 0, "counted too low");
            }
        });
        1
    }

    /// A process that opens the file again continues, and removes leftovers.
    fn check_next(&self) {
        let next = snapshot(&self.scene);
        let protections = self.scene.operation.protections();
        let keyring = match open_any(&next.directory, &protections) {
            Err(error) => {
                assert!(
                    matches!(file_error(&error), KeyFileError::File(FileError::NotFound { .. })),
                    "{error:?}"
                );
                operations::create(&next.directory).unwrap()
            }
            Ok(keyring) => keyring,
        };
        keyring.rotate().unwrap();
        assert!(is_tidy(&next.directory.disk()), "{:?}", next.directory.disk().list());
        let message = encrypt(&keyring).unwrap();
        let reopened = open_any(&next.directory, &protections).unwrap();
        assert!(decrypt(&reopened, &message).is_ok());
    }
}

#[test]
fn every_call_of_every_operation_fails_in_every_way() {
    let mut faults = Faults::new();
    for operation in OPERATIONS {
        let before = faults.cases;
        faults.run(operation);
        println!("{operation:?}: {} cases", faults.cases - before);
    }
    println!(
        "{} cases: {} errors, {} of them not durable; {} images; {} wraps after a fault",
        faults.cases, faults.errors, faults.not_durable, faults.images, faults.wraps
    );
    assert!(faults.cases > 1_500 && faults.errors > 500 && faults.not_durable > 50);
}
