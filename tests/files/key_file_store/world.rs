//! One key file in a simulated directory, with what a crash left of earlier writers beside it.

use crate::common::simulated_directory::disk::Disk;
use crate::common::simulated_directory::{SimulatedDirectory, USER};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::test_access::key_file::{FileError, FileKind, KeyFileError, Store};
use rand_chacha::ChaCha20Rng;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

pub const NAME: &str = "keys";
pub const LOCK: &str = "keys.lock";
const LEFTOVERS: [&str; 2] = [".keys.0123456789abcdef.tmp", ".keys.fedcba9876543210.tmp"];

/// Distinct contents of one length, distinguished by the first byte already.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha20Rng::seed_from_u64(u64::from(seed)).fill_bytes(&mut bytes);
    bytes[0] = seed;
    bytes
}

pub fn store(directory: &SimulatedDirectory) -> Store {
    Store::in_directory(Arc::new(directory.clone()), OsStr::new(NAME)).unwrap()
}

/// A directory with leftovers, and with `old` as the key file.
pub fn directory(old: Option<&[u8]>) -> SimulatedDirectory {
    let directory = SimulatedDirectory::new();
    for name in LEFTOVERS {
        directory.plant(name, FileKind::Regular, b"left over", 0o600, USER);
    }
    if let Some(old) = old {
        directory.plant(NAME, FileKind::Regular, old, 0o600, USER);
    }
    directory
}

/// The content that a store reads, `None` if there is no file.
pub fn load(directory: &SimulatedDirectory) -> Result<Option<Vec<u8>>, KeyFileError> {
    match store(directory).load() {
        Ok(loaded) => Ok(Some(loaded.bytes().to_vec())),
        Err(KeyFileError::File(FileError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks the file, then creates it if there is no `old`, or replaces it.
pub fn write(store: &Store, is_new: bool, bytes: &[u8]) -> Result<(), KeyFileError> {
    let mut writer = store.lock(Duration::ZERO)?;
    if is_new { writer.create(bytes) } else { writer.replace(bytes) }
}

pub fn temporary_names(disk: &Disk) -> usize {
    disk.list().iter().filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
}
