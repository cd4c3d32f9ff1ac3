//! The storage under the file keyring, and the directory that it stands on, so that a simulator
//! can take the place of the operating system.

pub use crate::fs::{
    Directory, DirectoryFile, FileAction, FileKind, FileStat, FileTime, OsDirectory, PathFault,
};
pub use crate::keyring::file::error::KeyFileError;
pub use crate::keyring::file::read::Loaded;
pub use crate::keyring::file::stamp::Stamp;
pub use crate::keyring::file::store::{MAX_KEY_FILE_LEN, Store};
pub use crate::keyring::file::writer::Writer;
