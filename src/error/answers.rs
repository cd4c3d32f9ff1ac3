//! What an error says of the next call.

use super::{Error, Unverified};
use core::time::Duration;

impl Error {
    /// A wrapped key does not verify.
    pub(crate) const WRAPPED_KEY: Self = Error::Authentication { part: Unverified::WrappedKey };

    /// The commitment of a body does not verify.
    pub(crate) const BODY_START: Self = Error::Authentication { part: Unverified::AadOrBodyStart };

    /// Whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unavailable { retryable, .. } => *retryable,
            Error::Throttled { .. } | Error::Randomness(_) => true,
            Error::Refused { refusal, .. } => refusal.is_retryable(),
            #[cfg(feature = "std")]
            Error::Io { source } => crate::io::may_pass(source),
            #[cfg(all(feature = "file", unix))]
            Error::KeyFile(error) => error.is_retryable(),
            #[cfg(all(feature = "pkcs11", unix))]
            Error::Token(error) => error.is_retryable(),
            #[cfg(all(feature = "file", unix))]
            Error::MessageFile(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// For how long the backend asks not to be called again, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether what was to be written may have been written all the same.
    #[cfg(all(feature = "pkcs11", unix))]
    pub(crate) fn may_be_written(&self) -> bool {
        matches!(self, Error::KeyFile(crate::file::KeyFileError::NotDurable { .. }))
    }
}
