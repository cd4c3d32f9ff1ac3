//! Operations on a key file that crash or fail, and the file itself.

// Each test file uses a part of it.
#![allow(dead_code)]

use crate::common::simulated_directory::disk::Disk;
use crate::common::simulated_directory::{SimulatedDirectory, USER};
use envelock::test_access::key_file::{FileError, FileKind, KeyFileError};
use envelock::{
    Aad, Envelope, Error, FileKeyring, KeyVersion, Lifecycle, MasterKey, OsRandom, Timestamp,
    file::{Argon2Cost, FileKeyringOptions, Protection},
    keyset::{Change, ChangeOptions, KeysetMap},
};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

pub const NAME: &str = "orders.keys";
pub const LOCK: &str = "orders.keys.lock";
pub const KEY: &str = "orders";
pub const TEXT: &[u8] = b"a message that must not be lost";
const LEFTOVERS: [&str; 2] =
    [".orders.keys.0123456789abcdef.tmp", ".orders.keys.fedcba9876543210.tmp"];
const DAY: Duration = Duration::from_secs(86_400);

/// 2001, so that what is planted has rested for long when it is read.
const LONG_AGO: u64 = 1_000_000_000_123_456_789;

/// The purposes of the versions in the file; the last is the primary.
const TO_DESTROY_NOW: u32 = 1;
const DUE: u32 = 2;
const TO_DISABLE: u32 = 3;
pub const PRIMARY: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Open,
    Create,
    Rotate,
    Disable,
    DestroyNow,
    DestroyDue,
    RemoveRecords,
    Erase,
    RawKey,
    Passphrase,
    AddProtection,
    RewrapProtection,
    RemoveProtection,
    FirstWrap,
    GiveBack,
    Reload,
}

impl Operation {
    /// Those that write.
    pub const WRITING: [Operation; 14] = [
        Operation::Create,
        Operation::Rotate,
        Operation::Disable,
        Operation::DestroyNow,
        Operation::DestroyDue,
        Operation::RemoveRecords,
        Operation::Erase,
        Operation::RawKey,
        Operation::Passphrase,
        Operation::AddProtection,
        Operation::RewrapProtection,
        Operation::RemoveProtection,
        Operation::FirstWrap,
        Operation::GiveBack,
    ];

    /// The protections that the file can have during the operation, the old one first.
    pub fn protections(self) -> Vec<Protection> {
        match self {
            Operation::RawKey | Operation::RewrapProtection | Operation::RemoveProtection => {
                vec![raw(7), raw(8)]
            }
            Operation::Passphrase => vec![raw(7), passphrase()],
            _ => vec![raw(7)],
        }
    }

    /// Whether it is about wraps that are reserved.
    pub fn counts(self) -> bool {
        matches!(self, Operation::FirstWrap | Operation::GiveBack)
    }

    pub fn options(self) -> FileKeyringOptions {
        if self.counts() { lazy().reserve_usage() } else { lazy().without_usage() }
    }
}

pub fn raw(byte: u8) -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[byte; 32]))
}

fn passphrase() -> Protection {
    let cheapest = Argon2Cost { memory_kib: Argon2Cost::MIN_MEMORY_KIB, passes: 5, lanes: 1 };
    Protection::passphrase_with_cost("correct horse", cheapest)
}

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// Never looks by itself, and never waits.
pub fn lazy() -> FileKeyringOptions {
    let never = Duration::from_secs(1 << 30);
    FileKeyringOptions::new().refresh_after(never).lock_wait(Duration::ZERO)
}

pub fn open(
    directory: &SimulatedDirectory,
    options: &FileKeyringOptions,
    protection: &Protection,
) -> Result<FileKeyring, Error> {
    options.open_in(Arc::new(directory.clone()), OsStr::new(NAME), protection)
}

/// Opens the file under whichever protection it is.
pub fn open_any(
    directory: &SimulatedDirectory,
    protections: &[Protection],
) -> Result<FileKeyring, Error> {
    let mut last = None;
    for protection in protections {
        match open(directory, &lazy().without_usage(), protection) {
            Ok(keyring) => return Ok(keyring),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap())
}

pub fn create(directory: &SimulatedDirectory) -> Result<FileKeyring, Error> {
    let options = lazy().without_usage();
    options.create_in(Arc::new(directory.clone()), OsStr::new(NAME), KEY, &raw(7))
}

pub fn encrypt(keyring: &FileKeyring) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).encrypt(TEXT, Aad::none())
}

pub fn decrypt(keyring: &FileKeyring, message: &[u8]) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).decrypt(message, Aad::none())
}

/// The fault of the file behind an error, from a change or from a wrap.
pub fn file_error(error: &Error) -> KeyFileError {
    error.backend::<KeyFileError>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// A message, and the version it is under.
#[derive(Clone)]
pub struct Message {
    pub version: KeyVersion,
    pub bytes: Vec<u8>,
}

impl Message {
    pub fn of(bytes: Vec<u8>) -> Self {
        let inspected = envelock::inspect(&bytes).unwrap();
        let version = inspected.slots().next().unwrap().label.version;
        Message { version, bytes }
    }
}

/// A durable key file with versions in several states, and a message under each.
pub struct World {
    disk: Disk,
    messages: Vec<Message>,
}

impl World {
    pub fn new() -> Self {
        let directory = SimulatedDirectory::new();
        directory.set_now(LONG_AGO);
        let keyring = create(&directory).unwrap();
        let mut messages = vec![Message::of(encrypt(&keyring).unwrap())];
        while keyring.rotate().unwrap().number() < PRIMARY {
            messages.push(Message::of(encrypt(&keyring).unwrap()));
        }
        messages.push(Message::of(encrypt(&keyring).unwrap()));
        keyring.disable(version(TO_DESTROY_NOW)).unwrap();
        keyring.disable(version(DUE)).unwrap();
        keyring.schedule_destruction(version(DUE), 7 * DAY).unwrap();
        World { disk: directory.disk(), messages }
    }

    /// The file, and a keyring that is about to do `operation`.
    pub fn scene(&self, operation: Operation) -> Scene {
        let is_new = operation == Operation::Create;
        let disk = if is_new { Disk::default() } else { self.disk.clone() };
        let directory = SimulatedDirectory::from_disk(disk);
        directory.set_now(LONG_AGO);
        let messages = if is_new { Vec::new() } else { self.messages.clone() };
        let mut scene = Scene { operation, directory, messages, keyring: None, before: None };
        if !matches!(operation, Operation::Open | Operation::Create) {
            let keyring = open(&scene.directory, &operation.options(), &raw(7)).unwrap();
            scene.keyring = Some(keyring);
        }
        scene.prepare();
        for name in LEFTOVERS {
            scene.directory.plant(name, FileKind::Regular, b"left over", 0o600, USER);
        }
        scene
    }
}

/// One operation, about to be performed.
pub struct Scene {
    pub operation: Operation,
    pub directory: SimulatedDirectory,
    pub messages: Vec<Message>,
    pub keyring: Option<FileKeyring>,
    pub before: Option<KeysetMap>,
}

impl Scene {
    /// The changes that the operation needs before it.
    fn prepare(&mut self) {
        match self.operation {
            Operation::GiveBack => {
                let message = encrypt(self.keyring.as_ref().unwrap()).unwrap();
                self.messages.push(Message::of(message));
            }
            Operation::RemoveRecords => {
                let keyring = self.keyring.as_ref().unwrap();
                keyring.destroy_immediately(version(TO_DESTROY_NOW)).unwrap();
            }
            Operation::RemoveProtection => {
                self.keyring.as_ref().unwrap().add_protection(&raw(8)).unwrap();
                let opened = open(&self.directory, &self.operation.options(), &raw(7));
                self.keyring = Some(opened.unwrap());
            }
            Operation::Reload => {
                let other = open(&self.directory, &lazy().without_usage(), &raw(7)).unwrap();
                other.rotate().unwrap();
                self.messages.push(Message::of(encrypt(&other).unwrap()));
            }
            _ => {}
        }
        self.before = self.keysets();
    }

    /// The content of the file for a process that opens it now.
    pub fn keysets(&self) -> Option<KeysetMap> {
        match open_any(&self.directory, &self.operation.protections()) {
            Ok(keyring) => Some(keyring.keysets().unwrap()),
            Err(error)
                if matches!(
                    error.backend(),
                    Some(KeyFileError::File(FileError::NotFound { .. }))
                ) =>
            {
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Performs the operation; nothing else calls the system.
    pub fn perform(&mut self) -> Result<(), Error> {
        let keyring = self.keyring.as_ref();
        match self.operation {
            Operation::Open => {
                self.keyring = Some(open(&self.directory, &self.operation.options(), &raw(7))?);
            }
            Operation::Create => self.keyring = Some(create(&self.directory)?),
            Operation::Rotate => drop(keyring.unwrap().rotate()?),
            Operation::Disable => drop(keyring.unwrap().disable(version(TO_DISABLE))?),
            Operation::DestroyNow => {
                keyring.unwrap().destroy_immediately(version(TO_DESTROY_NOW))?;
            }
            Operation::DestroyDue => {
                let operation = envelock::keyset::Operation::Destroy;
                let change = Change::Version { key: KEY, version: version(DUE), operation };
                let in_8_days = ChangeOptions::at(Timestamp::now().plus(8 * DAY));
                keyring.unwrap().change(&[change], &in_8_days, &mut OsRandom)?;
            }
            Operation::RemoveRecords => {
                keyring.unwrap().remove_records(version(TO_DESTROY_NOW))?;
            }
            Operation::Erase => drop(keyring.unwrap().erase_key(KEY)?),
            Operation::RawKey => drop(keyring.unwrap().replace_file_key(&[&raw(8)])?),
            Operation::Passphrase => drop(keyring.unwrap().replace_file_key(&[&passphrase()])?),
            Operation::AddProtection => drop(keyring.unwrap().add_protection(&raw(8))?),
            Operation::RewrapProtection => {
                let id = keyring.unwrap().protections()[0].id;
                keyring.unwrap().rewrap_protection(id, &raw(8))?;
            }
            Operation::RemoveProtection => {
                let id = keyring.unwrap().protections()[0].id;
                keyring.unwrap().remove_protection(id)?;
            }
            Operation::FirstWrap => {
                let message = encrypt(keyring.unwrap())?;
                self.messages.push(Message::of(message));
            }
            Operation::GiveBack => drop(self.keyring.take()),
            Operation::Reload => drop(keyring.unwrap().reload()?),
        }
        Ok(())
    }
}
