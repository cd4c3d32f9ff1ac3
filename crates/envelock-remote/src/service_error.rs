//! Why a key service did not do what was asked.

use envelock::keyring::{KeyringError, Refusal};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Why a key service did not do what was asked.
///
/// The variant decides on retries, on the circuit breaker and on the [`KeyringError`]. The text of a cause must
/// hold no secret. Two errors are never compared: match on the variant.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The wrapped key does not authenticate under this key, version and context.
    #[error("authentication failed")]
    Authentication,
    /// The service has no master key of this name.
    #[error("the service has no key of this name")]
    UnknownKey,
    /// The service refuses this version: it is disabled, destroyed or unknown.
    #[error("key version is refused: {0}")]
    Refused(Refusal),
    /// The service does not let this caller do that. No retry changes it.
    #[error(transparent)]
    Denied(Cause),
    /// The service is called too often. The same call may succeed later.
    #[error("{cause}")]
    #[non_exhaustive]
    Throttled {
        /// How long the service asks to wait, if it says so.
        retry_after: Option<Duration>,
        /// What the service answered.
        cause: Cause,
    },
    /// The service was not reached, is sealed, or failed. The same call may succeed later.
    #[error(transparent)]
    Unavailable(Cause),
    /// The service answered what makes no sense, or is set up in a way that cannot work. It fails again until
    /// an operator repairs it.
    #[error(transparent)]
    Broken(Cause),
    /// The service does not re-encrypt on its side.
    #[error("the service does not re-encrypt: rewrap without `trusting_backend`")]
    Unsupported,
}

/// The cause of a [`ServiceError`], shared by the callers of one call.
pub type Cause = Arc<dyn Error + Send + Sync>;

impl ServiceError {
    /// Reports that the service does not let this caller do that. `cause` must hold no secret.
    pub fn denied(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ServiceError::Denied(Arc::from(cause.into()))
    }

    /// Reports that the service is called too often. `cause` must hold no secret.
    pub fn throttled(
        retry_after: Option<Duration>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        ServiceError::Throttled { retry_after, cause: Arc::from(cause.into()) }
    }

    /// Reports that the service was not reached or failed. `cause` must hold no secret.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ServiceError::Unavailable(Arc::from(cause.into()))
    }

    /// Reports an answer that makes no sense, or a set-up that cannot work. `cause` must hold no secret.
    pub fn broken(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ServiceError::Broken(Arc::from(cause.into()))
    }

    /// Returns whether the same call may succeed later without a change by anybody.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ServiceError::Throttled { .. } | ServiceError::Unavailable(_))
    }

    /// Returns how long the service asks to wait before the next call, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ServiceError::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The error itself is the cause of a [`BackendError`](envelock::BackendError).
impl From<ServiceError> for KeyringError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Authentication => KeyringError::Authentication,
            ServiceError::Refused(refusal) => KeyringError::Refused(refusal),
            ServiceError::Denied(_) => KeyringError::denied(error),
            ServiceError::Throttled { retry_after, .. } => {
                KeyringError::throttled(retry_after, error)
            }
            ServiceError::Unavailable(_) => KeyringError::unavailable(error),
            ServiceError::UnknownKey | ServiceError::Broken(_) | ServiceError::Unsupported => {
                KeyringError::broken(error)
            }
        }
    }
}
