//! A key file as the catalogue of a simulated token, without PKCS#11. Part of the crate's unit tests,
//! since the trait of such stores is not public.

mod crashes;
mod files;
mod limits;
#[path = "../common/simulated_directory/mod.rs"]
mod simulated_directory;
mod token;

use crate::keyring::file::storage::Store;
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::{
    Aad, Envelope, Error, FileKeyring, KeyVersion, MasterKey,
    file::{FileKeyringOptions, Protection},
    keyset::Operation,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use simulated_directory::SimulatedDirectory;
use std::ffi::OsStr;

const NAME: &str = "orders.keys";
const ROW: Aad<'static> = Aad::new(b"row");

fn raw() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[7; 32]))
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn store(directory: &SimulatedDirectory) -> Store {
    Store::in_directory(Arc::new(directory.clone()), OsStr::new(NAME)).unwrap()
}

/// Options that poll the file at each use.
fn eager() -> FileKeyringOptions {
    FileKeyringOptions::new().refresh_after(Duration::ZERO)
}

fn create(
    directory: &SimulatedDirectory,
    source: &Arc<dyn KeyMaterialStore>,
) -> Result<FileKeyring, Error> {
    FileKeyring::create_in(store(directory), eager(), "orders", &raw(), source.clone())
}

fn open_as(
    directory: &SimulatedDirectory,
    options: FileKeyringOptions,
    source: &Arc<dyn KeyMaterialStore>,
) -> Result<FileKeyring, Error> {
    FileKeyring::open_in(store(directory), options, &raw(), source)
}

fn open(
    directory: &SimulatedDirectory,
    source: &Arc<dyn KeyMaterialStore>,
) -> Result<FileKeyring, Error> {
    open_as(directory, eager(), source)
}

fn encrypt(keyring: &FileKeyring) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).encrypt(b"text", ROW)
}

fn decrypt(keyring: &FileKeyring, message: &[u8]) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).decrypt(message, ROW)
}

fn operate(number: u32, operation: Operation) -> crate::keyset::Change<'static> {
    crate::keyset::Change::Version { key: "orders", version: version(number), operation }
}
