//! Why a message in a file could not be read, written or rewrapped.

use crate::fs::{FileAction, FileKind, kind_in_the_way, may_pass};
use alloc::sync::Arc;
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

/// Why a message in a file could not be read, written or rewrapped.
///
/// A path is that of the file, or of the journal or an unfinished file beside it. Whatever the
/// error, the message that was there opens as before, through [`MessageFile`](crate::file::MessageFile)
/// at least.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageFileError {
    /// The operating system refused.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was to be done.
        action: FileAction,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// The path does not end in a plain name; or a file that is to be written would have a name of
    /// what stands beside messages, `.<name>.envelock-rewrap` or `.<digits>.envelock-partial`.
    #[error("{path:?} does not name a file, or has a name of what stands beside messages")]
    FileName {
        /// The path.
        path: PathBuf,
    },

    /// There is no such file.
    #[error("there is no file {path:?}")]
    NotFound {
        /// The path.
        path: PathBuf,
    },

    /// A new file was to be written, and something has its name. It was not touched.
    #[error("{path:?} exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },

    /// The file that was to be read has the name of the journal of the one to be written, and the
    /// next rewrap would take it for a leftover. Nothing was touched: give one of the two another name.
    #[error(
        "{path:?} is the file to be read, and has the name of the journal of the one to be written"
    )]
    SourceInTheWay {
        /// The path of the journal.
        path: PathBuf,
    },

    /// The name stands for something else than a regular file. A link is not followed, since a
    /// journal stands beside the file itself: give the path that it leads to.
    #[error("{path:?} is {kind}, not a regular file")]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },

    /// The file has another name besides. A journal stands beside one name only, so that after a
    /// power failure the message would not open under the other.
    #[error("{path:?} has {links} hard links")]
    HardLinks {
        /// The path.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },

    /// Another process or thread is at work on the file. Try again.
    #[error("{path:?} is locked by another writer, waited {waited:?}")]
    Locked {
        /// The path.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },

    /// The file system has no locks (`flock`), which a rewrap of a file needs. A message there can be
    /// rewrapped in memory.
    #[error("the file system of {path:?} has no locks, which a rewrap of a file needs")]
    NoLocks {
        /// The path.
        path: PathBuf,
    },

    /// The file is another one each time that the system is asked: the number of a file (`st_ino`)
    /// changes on its file system, so that it cannot be said which file is locked.
    #[error(
        "{path:?} is another file each time it is looked at: its file system has no stable numbers of files"
    )]
    NoIdentity {
        /// The path.
        path: PathBuf,
    },

    /// The file was changed or replaced meanwhile, by somebody who does not heed the lock. What
    /// that one wrote is in place. Try again.
    #[error("{path:?} changed meanwhile")]
    Changed {
        /// The path.
        path: PathBuf,
    },

    /// Something that a rewrap cannot have left has the name of its journal: no regular file, or
    /// one that belongs neither to the owner of the message, nor to this process's user, nor to
    /// root. Look at it, and remove it.
    #[error("{path:?} is not a journal of this message's owner")]
    ForeignJournal {
        /// The path of the journal.
        path: PathBuf,
    },

    /// The new content is in place, but a crash may bring the old one back, since a sync failed.
    /// After a failed sync of a rewrap in place its journal is kept, so that the message opens
    /// whatever the medium holds; the next rewrap writes the header anew.
    #[error("{path:?} was written, but a crash may undo it: a sync failed")]
    NotDurable {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}

crate::error::backend_error!(MessageFileError);

impl MessageFileError {
    /// The kind that an `io::Error` of this has.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            MessageFileError::NotFound { .. } => io::ErrorKind::NotFound,
            MessageFileError::Exists { .. } => io::ErrorKind::AlreadyExists,
            MessageFileError::Io { source, .. } | MessageFileError::NotDurable { source, .. } => {
                source.kind()
            }
            _ => io::ErrorKind::Other,
        }
    }

    /// Whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            MessageFileError::Locked { .. } | MessageFileError::Changed { .. } => true,
            MessageFileError::Io { action, source, .. } => !action.is_sync() && may_pass(source),
            _ => false,
        }
    }
}

/// The error of a call that the operating system refused.
pub(super) fn refused(
    action: FileAction,
    path: &Path,
) -> impl FnOnce(io::Error) -> MessageFileError + '_ {
    move |error| MessageFileError::Io { action, path: path.to_path_buf(), source: Arc::new(error) }
}

/// The error of an open: what says what is there, or that nothing is, is made ours.
pub(super) fn open_refused(path: &Path) -> impl FnOnce(io::Error) -> MessageFileError + '_ {
    move |error| match kind_in_the_way(&error) {
        Some(kind) => MessageFileError::NotRegular { path: path.to_path_buf(), kind },
        None if error.kind() == io::ErrorKind::NotFound => {
            MessageFileError::NotFound { path: path.to_path_buf() }
        }
        None => refused(FileAction::Open, path)(error),
    }
}

/// The error of a sync of what is in place already.
pub(super) fn not_durable(path: &Path) -> impl FnOnce(io::Error) -> MessageFileError + '_ {
    move |error| MessageFileError::NotDurable { path: path.to_path_buf(), source: Arc::new(error) }
}
