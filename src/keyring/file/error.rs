//! Errors of key files.

use super::format::KeyFileFault;
use crate::format::KeyVersion;
use crate::fs::FileError;
use alloc::string::String;
use std::io;
use std::path::PathBuf;

/// Why a key file could not be read or written.
///
/// A path is that of the key file, or of the lock or temporary file beside it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file was not read, locked or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// The file, a link that leads to it, or its directory belongs neither to the user of this process
    /// nor to root. [`FileRules::allow_owner`](crate::file::FileRules::allow_owner) accepts one more
    /// owner.
    #[error("{path:?} belongs to user {owner}, not to {user}, root or an allowed owner")]
    Owner {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },

    /// Users other than the owner may read or write the file.
    /// [`FileRules::allow_permissions`](crate::file::FileRules::allow_permissions) accepts that.
    #[error("{path:?} has mode {mode:04o}, which gives access to users other than its owner")]
    Permissions {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The umask removed the owner's right to read or write a new file.
    #[error("{path:?} was created with mode {mode:04o}, which denies access to its owner")]
    Umask {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The file is mounted by itself, as by `docker -v file:file`, Compose or a Kubernetes `subPath`.
    /// Such a mount never shows a replacement of the file: messages would be encrypted under versions
    /// that were destroyed since. Mount the directory; or open the bytes of a file that never changes
    /// ([`ReadOnlyFileKeyring::from_bytes`](crate::file::ReadOnlyFileKeyring::from_bytes)).
    #[error("{path:?} is mounted as a single file, which hides its changes: mount its directory")]
    MountedAlone {
        /// The path.
        path: PathBuf,
    },

    /// The file, or its new content, is too large.
    #[error("{path:?} has {len} bytes, and at most {most} can be read")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The maximum.
        most: u64,
    },

    /// A sync of the directory failed earlier, so this handle no longer guarantees durability. Once
    /// the medium is in order, [`reopen`](crate::FileKeyring::reopen) it.
    #[error("a sync of the directory of {path:?} failed earlier")]
    Poisoned {
        /// The path.
        path: PathBuf,
    },

    /// The content of the file is damaged, or does not open.
    #[error("{path:?} cannot be used")]
    Content {
        /// The path.
        path: PathBuf,
        /// The fault, with its line.
        #[source]
        fault: KeyFileFault,
    },

    /// The file has fewer changes than were seen before: an old copy was put back.
    #[error("{path:?} has change {found}, after change {known} was seen")]
    RolledBack {
        /// The path.
        path: PathBuf,
        /// The change number of the file.
        found: u64,
        /// The change number that was seen, or the anchor of the caller.
        known: u64,
    },

    /// The file does not continue the history of the loaded one: a version is missing, has other key
    /// material, or is no longer destroyed, or a record differs from its state at its last change. An
    /// old copy was put back and changed.
    #[error("{path:?} is of another history: key {key} version {version} differs")]
    Diverged {
        /// The path.
        path: PathBuf,
        /// The name of the first key or alias that differs, or the id of a protection.
        key: String,
        /// The first version of it that differs.
        version: KeyVersion,
    },

    /// The file was opened read-only.
    #[error("{path:?} was opened read-only")]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
}

crate::error::backend_error!(KeyFileError);

impl KeyFileError {
    /// Returns the `io::ErrorKind` for an adapter of `std::io`.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            KeyFileError::File(error) => error.io_kind(),
            KeyFileError::Owner { .. }
            | KeyFileError::Permissions { .. }
            | KeyFileError::ReadOnly { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        }
    }

    /// Reports whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyFileError::File(error) => error.is_retryable(),
            KeyFileError::Content { fault, .. } => fault.is_retryable(),
            _ => false,
        }
    }
}
