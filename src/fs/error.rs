//! The failures that key files and message files have in common, and the actions that they name.

use super::call::{kind_in_the_way, may_pass};
use super::directory::FileKind;
use super::os::PathFault;
use crate::random::RandomnessUnavailable;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was not read, locked or written.
///
/// The path is that of the file itself, or of the lock file, temporary file or journal beside it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused. The file keeps its former content.
    #[error("cannot {action} {path:?}")]
    Io {
        /// The action that failed.
        action: FileAction,
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },

    /// The path does not end in a file name that can be used: `..`, `/`, a name longer than the 233
    /// bytes that a key file may have, or a name of the form `.<name>.envelock-rewrap` or
    /// `.<digits>.envelock-partial` for a new file.
    #[error("{path:?} does not end in a usable file name")]
    Name {
        /// The path.
        path: PathBuf,
    },

    /// No file has the name.
    #[error("there is no file {path:?}")]
    NotFound {
        /// The path.
        path: PathBuf,
    },

    /// A new file was to be created, and the name is in use. The file there is unchanged.
    #[error("{path:?} exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },

    /// The name belongs to something other than a regular file. A rewrap does not follow a symbolic
    /// link, because its journal stands beside the file itself: pass the path of the target.
    #[error("{path:?} is {kind}, not a regular file")]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// The kind of the file.
        kind: FileKind,
    },

    /// Another process or thread has the lock. Try again.
    #[error("{path:?} is locked by another writer, waited {waited:?}")]
    Locked {
        /// The path of the file that is locked.
        path: PathBuf,
        /// How long this call waited.
        waited: Duration,
    },

    /// The file system has no locks (`flock`) that this process can take. Nothing was written. Reading
    /// needs no lock, and a message can be rewrapped in memory.
    #[error("{path:?} cannot be locked: its file system has no locks")]
    NoLocks {
        /// The path of the file to be locked.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },

    /// The file system reports another device or inode number for the same file each time, so that
    /// a writer cannot find out whether it locked the right file. Nothing was written. Reading needs
    /// no inode number.
    #[error("{path:?} has another inode number each time: its file system keeps none")]
    UnstableIdentity {
        /// The path of the file to be locked.
        path: PathBuf,
    },

    /// A process that does not use the lock changed or replaced the file during the call. Its content
    /// is in place. Try again.
    #[error("{path:?} was changed during the call")]
    Changed {
        /// The path.
        path: PathBuf,
    },

    /// The new content is in place, but a sync failed, so that a crash may bring the old content
    /// back. If this was a rewrap in place, its journal is kept: the message opens with either
    /// header, and the next rewrap writes the header again.
    #[error("{path:?} was written, but a sync failed: a crash may undo it")]
    NotDurable {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },

    /// The operating system gave no random bytes for the name of a temporary file.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
}

impl FileError {
    /// Returns the `io::ErrorKind` for an adapter of `std::io`.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            FileError::NotFound { .. } => io::ErrorKind::NotFound,
            FileError::Exists { .. } => io::ErrorKind::AlreadyExists,
            FileError::Io { source, .. }
            | FileError::NoLocks { source, .. }
            | FileError::NotDurable { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        }
    }

    /// Reports whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            FileError::Locked { .. } | FileError::Changed { .. } | FileError::Randomness(_) => true,
            // A failed sync of a directory is final: the kernel forgets what it did not write.
            FileError::Io { action: FileAction::SyncDirectory, .. } => false,
            FileError::Io { source, .. } => may_pass(source),
            _ => false,
        }
    }
}

/// Returns a function that names the action and path of a failed system call.
pub(crate) fn failed(action: FileAction, path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |error| FileError::Io { action, path: path.to_path_buf(), source: Arc::new(error) }
}

/// As [`failed`] for an open, whose error can mean that the file is missing or not regular.
pub(crate) fn open_failed(
    action: FileAction,
    path: &Path,
) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |error| match kind_in_the_way(&error) {
        Some(kind) => FileError::NotRegular { path: path.to_path_buf(), kind },
        None if action == FileAction::Open && error.kind() == io::ErrorKind::NotFound => {
            FileError::NotFound { path: path.to_path_buf() }
        }
        None => failed(action, path)(error),
    }
}

/// As [`failed`] for the sync of what is in place already.
pub(crate) fn not_durable(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |error| FileError::NotDurable { path: path.to_path_buf(), source: Arc::new(error) }
}

impl PathFault {
    /// Returns the error for the path `given`, whose directory was not opened.
    pub(crate) fn into_error(self, given: &Path) -> FileError {
        match self {
            PathFault::Name => FileError::Name { path: given.to_path_buf() },
            PathFault::Directory { path, error } => failed(FileAction::OpenDirectory, &path)(error),
        }
    }
}

/// The action that the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAction {
    /// Open the directory.
    OpenDirectory,
    /// Open the file.
    Open,
    /// Read owner, mode and length of a file.
    Inspect,
    /// Read the file.
    Read,
    /// Create a temporary file or a journal.
    Create,
    /// Write a temporary file, a journal, or the header of a message in place.
    Write,
    /// Sync a temporary file, a journal, or the message.
    Sync,
    /// Give a temporary file its name.
    Rename,
    /// Sync the directory.
    SyncDirectory,
    /// Open or create the lock file.
    OpenLock,
    /// Lock the file.
    Lock,
    /// Give a temporary file or a journal the owner, group and mode of the file it belongs to.
    SetOwner,
    /// Remove the file.
    Remove,
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileAction::OpenDirectory => "open directory",
            FileAction::Open => "open",
            FileAction::Inspect => "inspect",
            FileAction::Read => "read",
            FileAction::Create => "create",
            FileAction::Write => "write",
            FileAction::Sync => "sync",
            FileAction::Rename => "put a new file in place as",
            FileAction::SyncDirectory => "sync directory",
            FileAction::OpenLock => "open lock file",
            FileAction::Lock => "lock",
            FileAction::SetOwner => "set owner and mode of",
            FileAction::Remove => "remove",
        })
    }
}
