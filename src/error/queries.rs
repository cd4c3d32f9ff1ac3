//! Whether an error can pass, and its cause in a back end.

use super::{Error, Unverified};
use core::time::Duration;

impl Error {
    /// A wrapped key does not verify.
    pub(crate) const WRAPPED_KEY: Self = Error::Authentication { part: Unverified::WrappedKey };

    /// The commitment of a body does not verify.
    pub(crate) const BODY_START: Self = Error::Authentication { part: Unverified::AadOrBodyStart };

    /// Returns whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Backend(error) => error.is_retryable(),
            Error::Randomness(_) => true,
            Error::Refused { refusal, .. } => refusal.is_retryable(),
            #[cfg(feature = "std")]
            Error::Io { source } => crate::io::is_retryable(source),
            _ => false,
        }
    }

    /// Returns how long the back end asks to wait before the next call, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Backend(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Returns the error of a back end, if this is one and it is an `E`.
    ///
    /// ```
    /// # #[cfg(all(feature = "file", unix))] {
    /// use envelock::{Error, file::{FileError, KeyFileError}};
    ///
    /// fn is_missing(error: &Error) -> bool {
    ///     matches!(error.backend(), Some(KeyFileError::File(FileError::NotFound { .. })))
    /// }
    /// # }
    /// ```
    pub fn backend<E: core::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Error::Backend(error) => error.downcast_ref(),
            _ => None,
        }
    }
}
