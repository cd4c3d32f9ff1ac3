//! The freshness of a slot, and why its key version is refused.

use core::fmt;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The keyring knows the key and not this version: another process may have just added it, or it
    /// was lost.
    UnknownVersion,
    /// The version is disabled.
    Disabled,
    /// The version is compromised, and the keyring is strict.
    Compromised,
    /// The version is scheduled for destruction, which can still be cancelled.
    DestroyScheduled,
    /// The key material of the version is destroyed. It opens no message again.
    Destroyed,
    /// The version is excluded by
    /// [`WithoutVersions`](crate::keyring::WithoutVersions).
    Excluded,
}

impl Refusal {
    /// Returns whether the version may become usable without an operator: an unknown version may be
    /// loaded later.
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
            Refusal::Excluded => "the version is excluded",
        })
    }
}
