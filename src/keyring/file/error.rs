//! Why a key file could not be read or written.

use super::format::KeyFileFault;
use crate::format::KeyVersion;
use crate::fs::{FileAction, FileKind, may_pass};
use crate::random::RandomnessUnavailable;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use std::io;
use std::path::PathBuf;

/// Why a key file could not be read or written.
///
/// A path is that of the key file, or of the lock or temporary file beside it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    // Storage: files and the system beneath them.
    /// The operating system refused. What the key file held before, it holds still.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was to be done.
        action: FileAction,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// The path does not end in a plain name of at most 233 bytes.
    #[error("{path:?} does not name a file, or its name is longer than 233 bytes")]
    FileName {
        /// The path.
        path: PathBuf,
    },

    /// There is no such key file.
    #[error("there is no file {path:?}")]
    NotFound {
        /// The path.
        path: PathBuf,
    },

    /// A new key file was to be created, and something has that name.
    #[error("{path:?} exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },

    /// The name stands for something else than a regular file.
    #[error("{path:?} is {kind}, not a regular file")]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },

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

    /// The file changed while it was read, or while a change to it was prepared, by somebody who
    /// does not heed the lock. Nothing was written. Try again.
    #[error("{path:?} changed meanwhile")]
    Changing {
        /// The path.
        path: PathBuf,
    },

    /// Another process or thread writes. Try again.
    #[error("{path:?} is locked by another writer, waited {waited:?}")]
    Locked {
        /// The path of the lock file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },

    /// The file system has no locks that this process can take (`flock`), so that two writers could
    /// undo each other's changes. Nothing was written. Reading needs no lock.
    #[error("{path:?} cannot be locked: its file system has no locks")]
    NoLocks {
        /// The path of the lock file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// The file system tells another identity (device and inode number) of one file each time it is
    /// asked, so that nobody can tell whether the lock is held of the right file. Nothing was
    /// written. Reading needs no identity.
    #[error("{path:?} is another file at each look: its file system keeps no inode numbers")]
    UnstableIdentity {
        /// The path of the lock file.
        path: PathBuf,
    },

    /// The new content is there, but a crash may bring the old one back: its directory could not
    /// be synced.
    #[error("{path:?} was replaced, but a crash may undo it: its directory cannot be synced")]
    NotDurable {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
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

    /// No name could be drawn for a temporary file.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
}

crate::error::backend_error!(KeyFileError);

impl KeyFileError {
    /// The kind that an `io::Error` of this has.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            KeyFileError::NotFound { .. } => io::ErrorKind::NotFound,
            KeyFileError::Exists { .. } => io::ErrorKind::AlreadyExists,
            KeyFileError::Owner { .. }
            | KeyFileError::Permissions { .. }
            | KeyFileError::ReadOnly { .. } => io::ErrorKind::PermissionDenied,
            KeyFileError::Io { source, .. }
            | KeyFileError::NoLocks { source, .. }
            | KeyFileError::NotDurable { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        }
    }

    /// Whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyFileError::Locked { .. }
            | KeyFileError::Changing { .. }
            | KeyFileError::Randomness(_) => true,
            KeyFileError::Content { fault, .. } => fault.is_retryable(),
            // A failed sync of the directory is final: the handle answers `Poisoned` from then on.
            KeyFileError::Io { action: FileAction::SyncDirectory, .. } => false,
            KeyFileError::Io { source, .. } => may_pass(source),
            _ => false,
        }
    }
}
