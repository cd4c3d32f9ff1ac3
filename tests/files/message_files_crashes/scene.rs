//! A message in a simulated directory, what is done to it, and what is found of it.

use crate::common::elastic::Elastic;
use crate::common::simulated_directory::disk::Disk;
use crate::common::simulated_directory::{LACKS_NOTHING, Lacks, SimulatedDirectory, USER};
use envelock::test_access::key_file::FileKind;
use envelock::test_access::message_file::{open_in, reencrypt_file_in, rewrap_file_in};
use envelock::{Aad, Envelope, Error, RewrapOptions, file::FileChange, inspect};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::sync::Arc;

pub const NAME: &str = "order.message";
pub const JOURNAL: &str = ".order.message.envelock-rewrap";
pub const TEXT: [u8; 200] = [0x5a; 200];
const ROW: Aad<'static> = Aad::new(b"row");

/// The versions before and after the operation, and after the recovery.
pub const OLD: u32 = 1;
pub const NEW: u32 = 2;
pub const NEXT: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Of a header in one sector, body and all.
    InPlace,
    /// Of a header in three sectors.
    InPlaceLong,
    /// To a longer header.
    Copy,
    /// To another data key.
    Reencrypt,
}

impl Operation {
    fn keyring(self) -> Elastic {
        match self {
            Operation::InPlace | Operation::Reencrypt => Elastic::new(72, 0),
            Operation::InPlaceLong => Elastic::new(1_100, 0),
            Operation::Copy => Elastic::new(72, 24),
        }
    }

    fn expected(self) -> FileChange {
        if self == Operation::Copy { FileChange::Copied } else { FileChange::InPlace }
    }
}

pub struct Scene {
    pub operation: Operation,
    pub envelope: Envelope<Elastic>,
    pub message: Vec<u8>,
    pub lacks: Lacks,
    /// What opens of each message that was found: many disks have the same.
    pub opened: RefCell<HashMap<Vec<u8>, Result<u32, String>>>,
}

/// A file system that has no files without a name.
pub const NAMED: Lacks = Lacks { unnamed: true, ..LACKS_NOTHING };
/// One that has no moves that replace nothing, either.
pub const LINKED: Lacks = Lacks { moves: true, ..NAMED };

/// The names that are not of files that a crash left unfinished.
pub fn finished(disk: &Disk) -> Vec<OsString> {
    let is_partial = |name: &OsString| name.to_string_lossy().ends_with(".envelock-partial");
    disk.list().into_iter().filter(|name| !is_partial(name)).collect()
}

impl Scene {
    pub fn new(operation: Operation) -> Self {
        let envelope = Envelope::new(operation.keyring());
        let message = envelope.encrypt(&TEXT, ROW).unwrap();
        envelope.keyring().promote(NEW);
        let (lacks, opened) = (Lacks::default(), RefCell::default());
        Scene { operation, envelope, message, lacks, opened }
    }

    /// The message under the old version, at rest.
    pub fn directory(&self) -> SimulatedDirectory {
        let directory = SimulatedDirectory::new().lacking(self.lacks);
        directory.plant(NAME, FileKind::Regular, &self.message, 0o640, USER);
        directory
    }

    pub fn rewrap(&self, directory: &SimulatedDirectory) -> Result<FileChange, Error> {
        let directory = Arc::new(directory.clone());
        let name = OsStr::new(NAME);
        let done = rewrap_file_in(&self.envelope, directory, name, RewrapOptions::new());
        done.map(|done| done.change())
    }

    pub fn perform(&self, directory: &SimulatedDirectory) {
        if self.operation == Operation::Reencrypt {
            let (shared, name) = (Arc::new(directory.clone()), OsStr::new(NAME));
            let old = inspect(&self.message).unwrap().as_bytes();
            assert!(reencrypt_file_in(&self.envelope, shared, name, old, ROW).unwrap());
        } else {
            assert_eq!(self.rewrap(directory).unwrap(), self.operation.expected());
        }
    }

    fn body<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        &message[inspect(message).unwrap().len()..]
    }

    /// The version that the message on a disk is under, or what is wrong with it.
    pub fn found(&self, image: &Disk) -> Result<u32, String> {
        let directory = Arc::new(SimulatedDirectory::from_disk(image.clone()));
        let reported = |error: Error| format!("{error:?}");
        let mut file = open_in(directory.clone(), OsStr::new(NAME)).map_err(reported)?;
        let mut message = Vec::new();
        file.read_to_end(&mut message).unwrap();
        assert_eq!(file.len(), message.len() as u64);
        if !file.is_torn() {
            assert_eq!(image.bytes(OsStr::new(NAME)), Some(&message[..]));
        }
        let mut opened = self.opened.borrow_mut();
        let version = match opened.get(&message) {
            Some(version) => version.clone(),
            None => {
                let version = self.open(&message);
                opened.insert(message, version.clone());
                version
            }
        }?;
        let disk = directory.disk();
        assert_eq!(disk.fingerprint(), image.fingerprint(), "a reader writes nothing");
        assert_eq!(disk.inodes[&disk.lookup(OsStr::new(NAME)).unwrap()].mode, 0o640);
        Ok(version)
    }

    /// The version that a message is under, or what is wrong with it.
    fn open(&self, message: &[u8]) -> Result<u32, String> {
        let text = self.envelope.decrypt(message, ROW).map_err(|error| format!("{error:?}"))?;
        let is_body_kept = self.body(message) == self.body(&self.message);
        let version = inspect(message).unwrap().slots().next().unwrap().label.version.number();
        // A new body comes with its header and not without. After the recovery it is either.
        let is_its_body = match (self.operation, version) {
            (Operation::Reencrypt, NEW) => !is_body_kept,
            (Operation::Reencrypt, NEXT) => true,
            _ => is_body_kept,
        };
        if text != TEXT || !is_its_body {
            return Err("another text".into());
        }
        Ok(version)
    }
}
