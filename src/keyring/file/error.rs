//! Why a key file could not be read or written.

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

    /// The file, or a link that leads to it, or the directory of that, belongs to somebody who is
    /// neither this process's user nor root.
    /// [`FileRules::allow_owner`](crate::file::FileRules::allow_owner) accepts one more.
    #[error("{path:?} belongs to user {owner}, not to {user} nor root, nor to one who is allowed")]
    Owner {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },

    /// Others than the owner may read or write the file.
    /// [`FileRules::allow_permissions`](crate::file::FileRules::allow_permissions) accepts that.
    #[error(
        "{path:?} has mode {mode:04o}: others than its owner may, and that is not allowed here"
    )]
    Permissions {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// A new file came to be without its owner's right to read and write: a umask took it.
    #[error("{path:?} was created with mode {mode:04o}, which keeps its owner out")]
    Umask {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The file was mounted by itself, as `docker -v file:file`, Compose and a Kubernetes `subPath`
    /// do it. Such a mount shows the same file for ever, whatever takes its place outside: messages
    /// would be encrypted under versions that are destroyed meanwhile. Mount its directory; or read
    /// a file that never changes, and open its bytes
    /// ([`ReadOnlyFileKeyring::from_bytes`](crate::file::ReadOnlyFileKeyring::from_bytes)).
    #[error("{path:?} is mounted as a single file, which hides its changes: mount its directory")]
    MountedAlone {
        /// The path.
        path: PathBuf,
    },

    /// The file, or what was to be written, is too large.
    #[error("{path:?} has {len} bytes, {most} at most can be read")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The most there may be.
        most: u64,
    },

    /// A sync of the directory failed earlier, so that nothing more can be promised through this
    /// handle. Once the medium is in order, [`reopen`](crate::FileKeyring::reopen) it.
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
        /// What is wrong with it, to the record.
        #[source]
        fault: KeyFileFault,
    },

    /// The file has fewer changes than one that was seen before: an old copy was put back.
    #[error("{path:?} has change {found}, after change {known} was seen")]
    RolledBack {
        /// The path.
        path: PathBuf,
        /// The file's change number.
        found: u64,
        /// The change number that was seen, or that the caller demands.
        known: u64,
    },

    /// The file does not go on from the one that was loaded: a version is missing, has other
    /// key material, or came back after its destruction, or a record is not as it was at the change
    /// that it says was its last. An old copy was put back and changed.
    #[error("{path:?} is of another history: key {key} version {version} differs")]
    Diverged {
        /// The path.
        path: PathBuf,
        /// The name of the first key, or alias, that differs, or the id of a protection.
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
