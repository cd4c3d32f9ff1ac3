//! Checks of a disk after a crash, down to each message.

// Each test file uses a part of it.
#![allow(dead_code)]

use crate::common::simulated_directory::SimulatedDirectory;
use crate::common::simulated_directory::disk::Disk;
use crate::key_file_crashes::operations::{LOCK, Message, NAME, TEXT, decrypt, open_any};
use envelock::test_access::key_file::{FileError, KeyFileError, Store};
use envelock::{
    Error, FileKeyring, Lifecycle,
    file::Protection,
    keyring::Refusal,
    keyset::{Keyset, KeysetMap, VersionState},
};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;

/// The content of a disk: nothing, or these master keys.
pub type Found = Option<Arc<KeysetMap>>;

/// Opens what crashes leave. A content that was opened before is known again, byte for byte; that
/// the file can be read at all is tried again on each disk.
pub struct DiskChecker {
    protections: Vec<Protection>,
    messages: Vec<Message>,
    known: HashMap<Vec<u8>, Arc<KeysetMap>>,
}

impl DiskChecker {
    pub fn new(protections: Vec<Protection>, messages: Vec<Message>) -> Self {
        DiskChecker { protections, messages, known: HashMap::new() }
    }

    pub fn protections(&self) -> &[Protection] {
        &self.protections
    }

    /// How many different files opened.
    pub fn contents(&self) -> usize {
        self.known.len()
    }

    /// The content of the disk, or its fault.
    pub fn found(&mut self, image: &Disk) -> Result<Found, String> {
        let directory = SimulatedDirectory::from_disk(image.clone());
        let store = Store::in_directory(Arc::new(directory), OsStr::new(NAME)).unwrap();
        let loaded = match store.load() {
            Ok(loaded) => loaded,
            Err(KeyFileError::File(FileError::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(format!("{error:?}")),
        };
        if let Some(known) = self.known.get(loaded.bytes()) {
            return Ok(Some(known.clone()));
        }
        let opened = Arc::new(self.open(image)?);
        self.known.insert(loaded.bytes().to_vec(), opened.clone());
        Ok(Some(opened))
    }

    /// Opens the file, and every message under every version that is not destroyed.
    fn open(&self, image: &Disk) -> Result<KeysetMap, String> {
        let directory = SimulatedDirectory::from_disk(image.clone());
        let keyring = open_any(&directory, &self.protections).map_err(|e| format!("{e:?}"))?;
        let keysets = keyring.keysets().map_err(|e| format!("{e:?}"))?;
        for message in &self.messages {
            let keyset = keysets.iter().next();
            let state = keyset.and_then(|it| Some(it.version(message.version)?.state));
            let is_removed = |keyset: &Keyset| message.version.number() < keyset.floor();
            let removed = keyset.is_some_and(is_removed).then_some(VersionState::Destroyed);
            let state = state.or(removed);
            let state = state.ok_or_else(|| format!("version {} is lost", message.version))?;
            let found = decrypt(&keyring, &message.bytes);
            let is_right = match (&found, state) {
                (Ok(text), state) => text == TEXT && state.unwrap_refusal().is_none(),
                (Err(Error::Refused { refusal: Refusal::Destroyed, .. }), state) => {
                    state == VersionState::Destroyed
                }
                (Err(Error::Refused { .. }), _) => opens_once_enabled(&keyring, message, state),
                _ => false,
            };
            if !is_right {
                return Err(format!("version {} ({state:?}): {found:?}", message.version));
            }
        }
        Ok(keysets)
    }
}

fn opens_once_enabled(keyring: &FileKeyring, message: &Message, state: VersionState) -> bool {
    match state {
        VersionState::Disabled => {}
        VersionState::DestroyScheduled => {
            keyring.cancel_destruction(message.version).unwrap();
        }
        _ => return false,
    }
    keyring.enable(message.version).unwrap();
    decrypt(keyring, &message.bytes).is_ok_and(|text| text == TEXT)
}

/// Whether nothing but the key file and its lock is there.
pub fn is_tidy(disk: &Disk) -> bool {
    disk.list().iter().all(|name| name == NAME || name == LOCK)
}
