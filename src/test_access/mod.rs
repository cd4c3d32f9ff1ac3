//! The storage of the file keyring, its format and message files, for the tests of this crate.
//!
//! Not part of the interface: anything here may change in any release.

pub mod key_file;
pub mod key_file_format;
pub mod message_file;
