//! Why a message in a file was not read, written or rewrapped.

use crate::fs::{FileAction, FileError};
use std::io;
use std::path::PathBuf;

/// Why a message in a file was not read, written or rewrapped.
///
/// A path is that of the file, or of the journal or temporary file beside it. After any error, the
/// message opens as before, at least through [`MessageFile`](crate::file::MessageFile).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageFileError {
    /// A file was not read, locked or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// The source file has the name of the journal of the file to be written, and the next rewrap
    /// would take it for that journal. Nothing was changed: rename one of the two.
    #[error("{path:?} is the source, and has the name of the journal of the file to be written")]
    SourceInTheWay {
        /// The path of the journal.
        path: PathBuf,
    },

    /// The file has more than one hard link. A journal stands beside one name only, so that after a
    /// power failure the message would not open under the other names.
    #[error("{path:?} has {links} hard links")]
    HardLinks {
        /// The path.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },

    /// The name of the journal belongs to a file that no rewrap has left: it is not a regular file, or
    /// its owner is neither the owner of the message, nor the user of this process, nor root. Inspect
    /// and remove it.
    #[error("{path:?} is not a journal of this message's owner")]
    ForeignJournal {
        /// The path of the journal.
        path: PathBuf,
    },
}

crate::error::backend_error!(MessageFileError);

impl MessageFileError {
    /// Returns the `io::ErrorKind` for an adapter of `std::io`.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            MessageFileError::File(error) => error.io_kind(),
            _ => io::ErrorKind::Other,
        }
    }

    /// Reports whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            // The medium may hold either content.
            MessageFileError::File(FileError::Io { action: FileAction::Sync, .. }) => false,
            MessageFileError::File(error) => error.is_retryable(),
            _ => false,
        }
    }
}
