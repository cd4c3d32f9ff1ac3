//! The key file's format as bytes in and bytes out, for tests and fuzzers. Not part of the stable
//! interface: applications use the file keyring.

pub use crate::keyring::file::format::{Damaged, FileKey, KeyFile, KeyFileId, Salvaged, salvage};
