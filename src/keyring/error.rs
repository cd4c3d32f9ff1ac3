//! What a keyring answers when it does not wrap or unwrap.

use crate::format::{KeyVersion, SlotFault};
use crate::random::RandomnessUnavailable;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Why a keyring did not wrap or unwrap. For authors of keyrings; callers see
/// [`Error`](crate::Error), with key name and version added.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The slot is another keyring's: its name, material or wrap algorithm is unknown here.
    #[error("slot is not under a key of this keyring")]
    NotMine,
    /// The slot is this keyring's and must not be used.
    #[error("key version is refused: {0}")]
    Refused(Refusal),
    /// The slot is this keyring's and does not verify.
    #[error("authentication failed")]
    Authentication,
    /// The backend did not answer; the same call may succeed later.
    #[error("keyring is unavailable")]
    Unavailable {
        /// What the backend said. It must hold no secret.
        source: Arc<dyn core::error::Error + Send + Sync>,
    },
    /// There is no version to wrap with.
    #[error("keyring has no primary key version")]
    NoPrimary,
    /// The keyring was told to wrap under a master key or alias that it does not have any more.
    #[error("there is no key {key}")]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// The keyring has several master keys and was told of none to wrap under.
    #[error("no key is selected of {}", keys.join(", "))]
    NoKeySelected {
        /// The names of some of them.
        keys: Vec<String>,
    },
    /// The primary has wrapped as many data keys as it may: nothing is wrapped before a rotation.
    #[error("key {key} version {version} may wrap no more than {limit} data keys: rotate")]
    WrapLimit {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// How many it may wrap.
        limit: u64,
    },
    /// The random generator failed.
    #[error("randomness is unavailable")]
    Randomness(#[source] RandomnessUnavailable),
    /// A pushed slot cannot stand in a header; from [`SlotWriter::push`](crate::SlotWriter::push).
    #[error("slot cannot be used")]
    Slot(#[source] SlotFault),
}

impl KeyringError {
    /// The backend did not answer, because of `source`.
    pub fn unavailable(source: impl core::error::Error + Send + Sync + 'static) -> Self {
        KeyringError::Unavailable { source: Arc::new(source) }
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

/// Why a keyring refuses a master key version that is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The keyring knows the key name and not this version: another process may have made it a
    /// moment ago, or it was lost.
    UnknownVersion,
    /// The version is disabled.
    Disabled,
    /// The version is marked compromised, and the keyring was told to refuse such.
    Compromised,
    /// The version waits for its destruction; that can still be cancelled.
    DestroyScheduled,
    /// The version's material is destroyed. The message cannot be opened with it ever again.
    Destroyed,
}

impl Refusal {
    /// Whether the version may become usable without anyone's doing: one that is not visible
    /// here yet.
    pub fn is_retryable(self) -> bool {
        self == Refusal::UnknownVersion
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::UnknownVersion => "the version is not known here",
            Refusal::Disabled => "the version is disabled",
            Refusal::Compromised => "the version is compromised",
            Refusal::DestroyScheduled => "the version is scheduled for destruction",
            Refusal::Destroyed => "the version is destroyed",
        })
    }
}
