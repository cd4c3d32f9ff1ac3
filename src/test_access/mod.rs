//! Errors, the storage of the file keyring, its format and message files, for the tests of this crate.
//!
//! Not part of the interface: anything here may change in any release.

pub mod errors;
#[cfg(all(feature = "file", unix))]
pub mod key_file;
#[cfg(all(feature = "file", unix))]
pub mod key_file_format;
#[cfg(all(feature = "file", unix))]
pub mod message_file;
