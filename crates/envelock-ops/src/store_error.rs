//! Why a store did not do what was asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a store did not do what was asked.
///
/// The text contains that of the cause, and [`source`](Error::source) is the source of the cause.
#[derive(Clone, Debug)]
pub struct StoreError {
    cause: Arc<dyn Error + Send + Sync>,
    failure: StoreFailure,
}

#[derive(Clone, Copy, Debug)]
enum StoreFailure {
    Unavailable,
    Throttled(Option<Duration>),
    Broken,
}

impl StoreError {
    fn new(cause: impl Into<Box<dyn Error + Send + Sync>>, failure: StoreFailure) -> Self {
        StoreError { cause: Arc::from(cause.into()), failure }
    }

    /// Returns the error of a store that may do the same later.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StoreError::new(cause, StoreFailure::Unavailable)
    }

    /// Returns the error of a store that accepts fewer calls than it gets.
    pub fn throttled(
        retry_after: Option<Duration>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        StoreError::new(cause, StoreFailure::Throttled(retry_after))
    }

    /// Returns the error of an item or a store that fails again until it is repaired.
    pub fn broken(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StoreError::new(cause, StoreFailure::Broken)
    }

    /// Returns the error of a call of the library.
    pub(crate) fn envelope(error: envelock::Error) -> Self {
        if error.is_retryable() {
            StoreError::unavailable(error)
        } else {
            StoreError::broken(error)
        }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.failure, StoreFailure::Broken)
    }

    /// Returns whether the store accepts fewer calls than it gets.
    pub fn is_throttled(&self) -> bool {
        matches!(self.failure, StoreFailure::Throttled(_))
    }

    /// Returns how long the store asks to wait before the next call, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            StoreFailure::Throttled(after) => after,
            _ => None,
        }
    }

    /// Returns the error of the store itself, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.cause.downcast_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure {
            StoreFailure::Throttled(_) => write!(f, "store is throttled: {}", self.cause),
            _ => write!(f, "store failed: {}", self.cause),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}
