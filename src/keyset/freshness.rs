//! What a slot's label says of the state of its key version.

use core::fmt;

/// How a slot stands to a keyring, going by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// Another keyring's.
    NotMine,
    /// Under the primary version.
    Primary,
    /// Under a version that is not the primary; older or newer, since a rollback goes back.
    Stale,
    /// Under a version that is not the primary, still unwraps, and is marked compromised. A
    /// rewrap touches it only where [`RewrapOptions::from_compromised`] names it.
    ///
    /// A keyring that was told to refuse compromised versions answers
    /// `Refused(Refusal::Compromised)` instead.
    ///
    /// [`RewrapOptions::from_compromised`]: crate::RewrapOptions::from_compromised
    Compromised,
    /// Under a version of this keyring that it refuses to use, or does not know.
    Refused(Refusal),
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
    /// The keyring was told to do without the version:
    /// [`WithoutVersions`](crate::keyring::WithoutVersions).
    Excluded,
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
            Refusal::Excluded => "the keyring is to do without the version",
        })
    }
}
