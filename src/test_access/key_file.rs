//! The storage of the file keyring and its directory, which a simulator can replace.

pub use crate::fs::{
    Directory, DirectoryFile, FileAction, FileError, FileKind, FileStat, FileTime, OsDirectory,
    PathFault,
};
pub use crate::keyring::file::error::KeyFileError;
pub use crate::keyring::file::storage::{Fingerprint, Loaded, MAX_KEY_FILE_LEN, Store, Writer};
