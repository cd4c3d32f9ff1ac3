//! The storage under the file keyring, and the directory that it stands on, so that a simulator
//! can take the place of the operating system.

pub use crate::fs::{
    Directory, DirectoryFile, FileAction, FileError, FileKind, FileStat, FileTime, OsDirectory,
    PathFault,
};
pub use crate::keyring::file::error::KeyFileError;
pub use crate::keyring::file::storage::{Fingerprint, Loaded, MAX_KEY_FILE_LEN, Store, Writer};
