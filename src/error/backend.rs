//! The failure of a back end: a file, a token, a service.

use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
use core::time::Duration;

/// Why a back end did not do what was asked: the failure of a file, a token or a service.
///
/// The text contains that of the cause, and [`source`](Error::source) is the source of the cause, so
/// that a chain of errors has each text once. [`downcast_ref`](Self::downcast_ref) returns the
/// cause by its type.
#[derive(Clone)]
pub struct BackendError {
    cause: Arc<dyn Error + Send + Sync>,
    failure: BackendFailure,
    /// Whether the text of the cause says by itself what failed.
    is_described: bool,
}

/// What the failure of a back end means for the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendFailure {
    /// The back end was not reached, or failed.
    #[non_exhaustive]
    Unavailable {
        /// Whether the same call may succeed later without any change.
        retryable: bool,
    },
    /// The back end accepts fewer calls than it gets. The same call may succeed later.
    #[non_exhaustive]
    Throttled {
        /// How long the back end asks to wait before the next call, if it says so.
        retry_after: Option<Duration>,
    },
    /// The back end does not let this caller use the key. No retry changes that.
    Denied,
}

impl BackendError {
    fn new(cause: impl Error + Send + Sync + 'static, failure: BackendFailure) -> Self {
        BackendError { cause: Arc::new(cause), failure, is_described: false }
    }

    /// Returns the error of a back end that failed because of `cause` and may succeed later.
    ///
    /// `cause` must hold no secret.
    pub fn unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        BackendError::new(cause, BackendFailure::Unavailable { retryable: true })
    }

    /// Returns the error of a back end that failed because of `cause` and fails again until it is
    /// repaired.
    ///
    /// `cause` must hold no secret.
    pub fn broken(cause: impl Error + Send + Sync + 'static) -> Self {
        BackendError::new(cause, BackendFailure::Unavailable { retryable: false })
    }

    /// Returns the error of a back end that was called too often; `retry_after` is the wait that it
    /// asks for.
    ///
    /// `cause` must hold no secret.
    pub fn throttled(
        retry_after: Option<Duration>,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        BackendError::new(cause, BackendFailure::Throttled { retry_after })
    }

    /// Returns the error of a back end that does not let this caller use the key.
    ///
    /// `cause` must hold no secret.
    pub fn denied(cause: impl Error + Send + Sync + 'static) -> Self {
        BackendError::new(cause, BackendFailure::Denied)
    }

    /// The error of a back end of this crate, whose own text is complete.
    #[allow(dead_code, reason = "back ends of this crate are features")]
    pub(crate) fn described(cause: impl Error + Send + Sync + 'static, retryable: bool) -> Self {
        let failure = BackendFailure::Unavailable { retryable };
        BackendError { is_described: true, ..BackendError::new(cause, failure) }
    }

    /// Returns what the failure means for the next call.
    pub fn failure(&self) -> BackendFailure {
        self.failure
    }

    /// Returns the error of the back end itself.
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// Returns the error of the back end itself, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.cause.downcast_ref()
    }

    /// Returns whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self.failure {
            BackendFailure::Unavailable { retryable } => retryable,
            BackendFailure::Throttled { .. } => true,
            BackendFailure::Denied => false,
        }
    }

    /// Returns how long the back end asks to wait before the next call, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            BackendFailure::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure {
            _ if self.is_described => {}
            BackendFailure::Unavailable { .. } => f.write_str("keyring is unavailable: ")?,
            BackendFailure::Throttled { retry_after: None } => {
                f.write_str("keyring is throttled: ")?;
            }
            BackendFailure::Throttled { retry_after: Some(wait) } => {
                write!(f, "keyring is throttled, retry after {wait:?}: ")?;
            }
            BackendFailure::Denied => f.write_str("keyring denies the use of its key: ")?,
        }
        fmt::Display::fmt(&self.cause, f)
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.failure, self.cause)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// Has the error of a back end of this crate travel in [`BackendError`], [`enum@crate::Error`] and
/// [`KeyringError`](crate::keyring::KeyringError).
#[allow(unused_macros, reason = "back ends of this crate are features")]
macro_rules! backend_error {
    ($error:ty) => {
        impl From<$error> for $crate::error::BackendError {
            fn from(error: $error) -> Self {
                let retryable = error.is_retryable();
                $crate::error::BackendError::described(error, retryable)
            }
        }

        impl From<$error> for $crate::error::Error {
            fn from(error: $error) -> Self {
                $crate::error::Error::Backend(error.into())
            }
        }

        impl From<$error> for $crate::keyring::KeyringError {
            fn from(error: $error) -> Self {
                $crate::keyring::KeyringError::Backend(error.into())
            }
        }
    };
}

#[allow(unused_imports, reason = "as above")]
pub(crate) use backend_error;
