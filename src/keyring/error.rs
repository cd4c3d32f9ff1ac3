//! The error of a keyring.

use crate::error::{BackendError, BackendFailure};
use crate::format::{KeyVersion, SlotFault};
use crate::keyset::Refusal;
use crate::random::RandomnessUnavailable;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Why a keyring did not wrap or unwrap. For authors of keyrings; callers see
/// [`Error`](crate::Error), with key name and version added.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The slot belongs to another keyring: this one does not know its name, material or wrap algorithm.
    #[error("slot is not under a key of this keyring")]
    NotMine,
    /// The slot belongs to this keyring and must not be used.
    #[error("key version is refused: {0}")]
    Refused(Refusal),
    /// The slot belongs to this keyring and does not verify.
    #[error("authentication failed")]
    Authentication,
    /// The back end failed, accepts fewer calls than it gets, or does not let this caller use the key.
    #[error(transparent)]
    Backend(BackendError),
    /// There is no version to wrap with.
    #[error("keyring has no primary key version")]
    NoPrimary,
    /// The keyring does not have the named master key, or the selected alias.
    #[error("there is no key {key}")]
    #[non_exhaustive]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// The keyring has several master keys, and none is selected to wrap under.
    #[error("no key is selected of {}", keys.join(", "))]
    #[non_exhaustive]
    NoKeySelected {
        /// The names of some of them.
        keys: Vec<String>,
    },
    /// The primary has reached its limit of wraps. Nothing is wrapped before a rotation.
    #[error("key {key} version {version} may wrap no more than {limit} data keys: rotate")]
    #[non_exhaustive]
    WrapLimit {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// How many it may wrap.
        limit: u64,
    },
    /// The random generator failed.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
    /// A pushed slot does not fit a header; from [`SlotWriter::push`](crate::keyring::SlotWriter::push).
    #[error("slot cannot be used: {0}")]
    Slot(SlotFault),
}

impl KeyringError {
    /// Reports that a call of the backend failed with `source` and may succeed later.
    pub fn unavailable(source: impl core::error::Error + Send + Sync + 'static) -> Self {
        KeyringError::Backend(BackendError::unavailable(source))
    }

    /// Reports that the backend failed with `source`, and fails again until an operator repairs it.
    pub fn broken(source: impl core::error::Error + Send + Sync + 'static) -> Self {
        KeyringError::Backend(BackendError::broken(source))
    }

    /// Reports that the backend was called too often. `retry_after` is the wait that it asks for.
    pub fn throttled(
        retry_after: Option<Duration>,
        source: impl core::error::Error + Send + Sync + 'static,
    ) -> Self {
        KeyringError::Backend(BackendError::throttled(retry_after, source))
    }

    /// Reports that the backend does not let this caller use the key, because of `source`.
    pub fn denied(source: impl core::error::Error + Send + Sync + 'static) -> Self {
        KeyringError::Backend(BackendError::denied(source))
    }

    /// Reports that the keyring does not have the named master key, or the selected alias.
    pub fn unknown_key(key: impl Into<String>) -> Self {
        KeyringError::UnknownKey { key: key.into() }
    }

    /// Reports that the keyring has several master keys, `keys` among them, and none is selected.
    pub fn no_key_selected(keys: Vec<String>) -> Self {
        KeyringError::NoKeySelected { keys }
    }

    /// Reports that the primary version of `key` has wrapped `limit` data keys, as many as it may.
    pub fn wrap_limit(key: impl Into<String>, version: KeyVersion, limit: u64) -> Self {
        KeyringError::WrapLimit { key: key.into(), version, limit }
    }

    /// Returns whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyringError::Backend(error) => error.is_retryable(),
            KeyringError::Randomness(_) => true,
            KeyringError::Refused(refusal) => refusal.is_retryable(),
            _ => false,
        }
    }

    /// The precedence of the error where no slot opened, 5 being the highest (SPEC O-PRECEDENCE): a call
    /// that may succeed later, one that does not, denied, refused, authentication failed, not mine.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            KeyringError::NotMine => 0,
            KeyringError::Authentication => 1,
            KeyringError::Refused(_) => 2,
            KeyringError::Backend(error) if error.failure() == BackendFailure::Denied => 3,
            error if !error.is_retryable() => 4,
            _ => 5,
        }
    }
}

impl From<BackendError> for KeyringError {
    fn from(error: BackendError) -> Self {
        KeyringError::Backend(error)
    }
}

impl From<RandomnessUnavailable> for KeyringError {
    fn from(error: RandomnessUnavailable) -> Self {
        KeyringError::Randomness(error)
    }
}

impl From<SlotFault> for KeyringError {
    fn from(fault: SlotFault) -> Self {
        KeyringError::Slot(fault)
    }
}
