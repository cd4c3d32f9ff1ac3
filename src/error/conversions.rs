//! Errors of parts of the crate as errors of an operation.

use super::{BackendError, Error};
use crate::format::InvalidKeyName;
use crate::keyring::KeyringError;
use crate::keyset::LifecycleError;
use crate::random::RandomnessUnavailable;

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        Error::Backend(error)
    }
}

impl From<LifecycleError> for Error {
    fn from(error: LifecycleError) -> Self {
        Error::Lifecycle(error)
    }
}

impl From<InvalidKeyName> for Error {
    fn from(error: InvalidKeyName) -> Self {
        Error::Lifecycle(error.into())
    }
}

impl From<RandomnessUnavailable> for Error {
    fn from(error: RandomnessUnavailable) -> Self {
        Error::Randomness(error)
    }
}

impl Error {
    /// The error of an operation whose wrap failed.
    pub(crate) fn from_wrap(error: KeyringError) -> Self {
        match error {
            KeyringError::Backend(error) => Error::Backend(error),
            KeyringError::Randomness(source) => Error::Randomness(source),
            KeyringError::WrapLimit { key, version, limit } => {
                Error::WrapLimit { key, version, limit }
            }
            KeyringError::UnknownKey { key } => LifecycleError::UnknownKey { key }.into(),
            KeyringError::NoKeySelected { keys } => LifecycleError::NoKeySelected { keys }.into(),
            KeyringError::Slot(fault) => Error::Slot(fault),
            KeyringError::Authentication => Error::WRAPPED_KEY,
            KeyringError::NoPrimary | KeyringError::NotMine | KeyringError::Refused(_) => {
                Error::NoPrimary
            }
        }
    }
}
