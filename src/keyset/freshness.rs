//! The freshness of a slot, and why its key version is refused.

/// The state of a slot's key version, from the label of the slot alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// The slot belongs to another keyring.
    NotMine,
    /// The slot is under the primary.
    Primary,
    /// The slot is under another version than the primary: an older one, or after a rollback a newer one.
    Stale,
    /// The slot is under a compromised version, which still unwraps. A rewrap changes the slot only if
    /// [`RewrapOptions::from_compromised`] names the version.
    ///
    /// A keyring that refuses compromised versions returns `Refused(Refusal::Compromised)` instead.
    ///
    /// [`RewrapOptions::from_compromised`]: crate::RewrapOptions::from_compromised
    Compromised,
    /// The slot is under a version that this keyring refuses or does not know.
    Refused(Refusal),
}

/// Why a keyring refuses a version of its own master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The keyring knows the key and not this version: another process may have just added it, or it
    /// was lost.
    #[error("the version is not known here")]
    UnknownVersion,
    /// The version is disabled.
    #[error("the version is disabled")]
    Disabled,
    /// The version is compromised, and the keyring is strict.
    #[error("the version is compromised")]
    Compromised,
    /// The version is scheduled for destruction, which can still be cancelled.
    #[error("the version is scheduled for destruction")]
    DestroyScheduled,
    /// The key material of the version is destroyed. It opens no message again.
    #[error("the version is destroyed")]
    Destroyed,
    /// The version is excluded by
    /// [`WithoutVersions`](crate::keyring::WithoutVersions).
    #[error("the version is excluded")]
    Excluded,
}

impl Refusal {
    /// Returns whether the version may become usable without an operator: an unknown version may be
    /// loaded later.
    pub fn is_retryable(self) -> bool {
        self == Refusal::UnknownVersion
    }
}
