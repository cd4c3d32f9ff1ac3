//! Between the errors of streams and those of `std::io`, without loss both ways.

use crate::error::{BackendFailure, Error};
#[cfg(all(feature = "file", unix))]
use crate::file::{KeyFileError, MessageFileError};
use alloc::sync::Arc;
use std::io;

impl From<Error> for io::Error {
    /// An error of a reader or writer with its kind, its text and its number, else one that holds
    /// ours: ask for it with `Error::from`.
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source } => again(&source),
            error => io::Error::new(kind(&error), error),
        }
    }
}

impl From<io::Error> for Error {
    /// Ours if that is what it holds, else [`Error::Io`].
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::Io { source: Arc::new(error) },
        }
    }
}

fn kind(error: &Error) -> io::ErrorKind {
    match error {
        Error::Truncated { .. } => io::ErrorKind::UnexpectedEof,
        Error::NotEnvelock { .. }
        | Error::Header { .. }
        | Error::DetachedHeaderLength { .. }
        | Error::Authentication { .. } => io::ErrorKind::InvalidData,
        Error::Ended | Error::MessageTooLong | Error::BufferLength { .. } => {
            io::ErrorKind::InvalidInput
        }
        Error::Backend(error) if error.failure() == BackendFailure::Denied => {
            io::ErrorKind::PermissionDenied
        }
        #[cfg(all(feature = "file", unix))]
        Error::Backend(error) => {
            let key_file = error.downcast_ref().map(KeyFileError::io_kind);
            let message_file = || error.downcast_ref().map(MessageFileError::io_kind);
            key_file.or_else(message_file).map_or(io::ErrorKind::Other, of_file)
        }
        _ => io::ErrorKind::Other,
    }
}

/// The kind of an error of a key file or message file, if a reader or writer of a message can have
/// it. `UnexpectedEof` and `InvalidData` tell of the message here, and what says "call again" would
/// have a latched failure asked for ever.
#[cfg(all(feature = "file", unix))]
fn of_file(kind: io::ErrorKind) -> io::ErrorKind {
    use io::ErrorKind::{
        AlreadyExists, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match kind {
        NotFound | PermissionDenied | AlreadyExists | StorageFull | QuotaExceeded
        | ReadOnlyFilesystem => kind,
        _ => io::ErrorKind::Other,
    }
}

/// The same error once more.
fn again(error: &Arc<io::Error>) -> io::Error {
    match (error.raw_os_error(), error.get_ref()) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, _) => io::Error::new(error.kind(), Error::Io { source: error.clone() }),
    }
}

/// Whether the same call may succeed later.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    is_transient(error) || error.kind() == io::ErrorKind::Interrupted
}

/// Whether the call can be made again as if it had not been made.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Calls again until no signal interrupts.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
