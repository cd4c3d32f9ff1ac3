//! Conversions between [`Error`] and `std::io::Error`, without loss in either direction.

use crate::error::{BackendFailure, Error};
#[cfg(all(feature = "file", unix))]
use crate::file::{KeyFileError, MessageFileError};
use alloc::sync::Arc;
use std::io;

impl From<Error> for io::Error {
    /// [`Error::Io`] keeps its kind, text and number. Any other error is inside: `Error::from` returns it.
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source } => shared_copy(&source),
            error => io::Error::new(kind(&error), error),
        }
    }
}

impl From<io::Error> for Error {
    /// Returns the [`Error`] inside, or [`Error::Io`] if there is none.
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

/// The kind of an error of a key file or message file, if it can also be that of a reader or writer.
/// `UnexpectedEof` and `InvalidData` concern the message here, and a kind that means "call again" would
/// make a caller repeat a call whose failure is sticky.
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

/// A second error with the same kind, text and number.
fn shared_copy(error: &Arc<io::Error>) -> io::Error {
    match (error.raw_os_error(), error.get_ref()) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, _) => io::Error::new(error.kind(), Error::Io { source: error.clone() }),
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_retryable(error: &io::Error) -> bool {
    is_transient(error) || error.kind() == io::ErrorKind::Interrupted
}

/// Whether the call had no effect and can be repeated.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Repeats a call while signals interrupt it. Not for syncs, whose failure is final.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
