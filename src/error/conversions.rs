//! Errors of parts of the crate as errors of an operation.

use super::Error;
use crate::format::InvalidKeyName;
use crate::keyring::KeyringError;
use crate::random::RandomnessUnavailable;
#[cfg(all(feature = "file", unix))]
use alloc::sync::Arc;

#[cfg(all(feature = "file", unix))]
impl From<crate::file::KeyFileError> for Error {
    fn from(error: crate::file::KeyFileError) -> Self {
        Error::KeyFile(error)
    }
}

#[cfg(all(feature = "file", unix))]
impl From<crate::file::KeyFileError> for KeyringError {
    fn from(error: crate::file::KeyFileError) -> Self {
        let retryable = error.is_retryable();
        KeyringError::Unavailable { source: Arc::new(error), retryable }
    }
}

#[cfg(all(feature = "pkcs11", unix))]
impl From<crate::pkcs11::Error> for KeyringError {
    fn from(error: crate::pkcs11::Error) -> Self {
        let retryable = error.is_retryable();
        KeyringError::Unavailable { source: Arc::new(error), retryable }
    }
}

#[cfg(all(feature = "pkcs11", unix))]
impl From<crate::pkcs11::Error> for Error {
    fn from(error: crate::pkcs11::Error) -> Self {
        Error::Token(error)
    }
}

#[cfg(all(feature = "file", unix))]
impl From<crate::message_file::MessageFileError> for Error {
    fn from(error: crate::message_file::MessageFileError) -> Self {
        Error::MessageFile(error)
    }
}

impl From<InvalidKeyName> for Error {
    fn from(error: InvalidKeyName) -> Self {
        Error::KeyName(error)
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
            KeyringError::Unavailable { source, retryable } => {
                Error::Unavailable { source, retryable }
            }
            KeyringError::Throttled { retry_after, source } => {
                Error::Throttled { retry_after, source }
            }
            KeyringError::Denied { source } => Error::Denied { source },
            KeyringError::Randomness(source) => Error::Randomness(source),
            KeyringError::WrapLimit { key, version, limit } => {
                Error::WrapLimit { key, version, limit }
            }
            KeyringError::UnknownKey { key } => Error::UnknownKey { key },
            KeyringError::NoKeySelected { keys } => Error::NoKeySelected { keys },
            KeyringError::Slot(fault) => Error::Slot(fault),
            KeyringError::Authentication => Error::WRAPPED_KEY,
            KeyringError::NoPrimary | KeyringError::NotMine | KeyringError::Refused(_) => {
                Error::NoPrimary
            }
        }
    }
}
