//! The states of a version, and the transitions between them.

use super::Refusal;
use core::fmt;
use core::time::Duration;

/// State of one version of a master key.
///
/// The table has the abilities of each state and the state after each operation. An empty cell fails with
/// [`LifecycleError::VersionState`](crate::keyset::LifecycleError::VersionState):
///
#[doc = include_str!("states.md")]
///
/// - A version that was marked compromised stays compromised: enable leads back to compromised, and it is
///   never promoted.
/// - The primary is never disabled or destroyed: promote another version first. After the primary is
///   marked compromised, encryption fails until a version is promoted. To avoid that, rotate first and
///   mark the former primary afterwards.
/// - Destroyed is final. The record stays, and the number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionState {
    /// Added and not yet promoted, so that it can be distributed first.
    Pending,
    /// The one version that wraps.
    Primary,
    /// A former primary; unwraps.
    Enabled,
    /// Refuses to unwrap until it is enabled again.
    Disabled,
    /// Known to an attacker. Unwraps, so that messages can be re-encrypted; a strict keyring refuses it.
    Compromised,
    /// Refuses to unwrap until it is destroyed at its date; can be cancelled.
    DestroyScheduled,
    /// Its key material is wiped.
    Destroyed,
}

/// An operation on one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Make it the primary.
    Promote,
    /// Let it unwrap again.
    Enable,
    /// Stop it from unwrapping.
    Disable,
    /// Record that an attacker knows it. Final.
    MarkCompromised,
    /// Schedule its destruction.
    ScheduleDestruction {
        /// The delay: 7 to 30 days.
        after: Duration,
    },
    /// Cancel the scheduled destruction. The version is disabled.
    CancelDestruction,
    /// Wipe the key material of a version at or after its date.
    Destroy,
    /// Wipe the key material before its date. Messages under the version that were not rewrapped are
    /// lost.
    DestroyImmediately,
}

impl VersionState {
    /// Every state, in the order of the table.
    pub const ALL: &'static [VersionState] = &[
        VersionState::Pending,
        VersionState::Primary,
        VersionState::Enabled,
        VersionState::Disabled,
        VersionState::Compromised,
        VersionState::DestroyScheduled,
        VersionState::Destroyed,
    ];

    /// Returns the state after `operation`, or `None` if it is not allowed.
    ///
    /// A [`Keyset`](crate::keyset::Keyset) also checks the date of a destruction, and enables a version
    /// that was marked compromised to that state.
    pub const fn after(self, operation: Operation) -> Option<VersionState> {
        use Operation as O;
        use VersionState::*;
        match (self, operation) {
            (Pending | Primary | Enabled, O::Promote) => Some(Primary),
            (Disabled, O::Enable) => Some(Enabled),
            (Pending | Enabled | Compromised, O::Disable) => Some(Disabled),
            (Pending | Primary | Enabled, O::MarkCompromised) => Some(Compromised),
            (Disabled | DestroyScheduled, O::MarkCompromised) => Some(self),
            (Disabled, O::ScheduleDestruction { .. }) => Some(DestroyScheduled),
            (DestroyScheduled, O::CancelDestruction) => Some(Disabled),
            (DestroyScheduled, O::Destroy) => Some(Destroyed),
            (Disabled | DestroyScheduled, O::DestroyImmediately) => Some(Destroyed),
            _ => None,
        }
    }

    /// Returns whether a version in this state wraps.
    pub const fn wraps(self) -> bool {
        matches!(self, VersionState::Primary)
    }

    /// Returns why a version in this state does not unwrap, or `None` if it does (SPEC O-STATES).
    ///
    /// A compromised version unwraps. A strict keyring refuses it nevertheless.
    pub const fn unwrap_refusal(self) -> Option<Refusal> {
        match self {
            VersionState::Pending
            | VersionState::Primary
            | VersionState::Enabled
            | VersionState::Compromised => None,
            VersionState::Disabled => Some(Refusal::Disabled),
            VersionState::DestroyScheduled => Some(Refusal::DestroyScheduled),
            VersionState::Destroyed => Some(Refusal::Destroyed),
        }
    }

    /// Returns the name of the state in key files.
    pub const fn name(self) -> &'static str {
        match self {
            VersionState::Pending => "pending",
            VersionState::Primary => "primary",
            VersionState::Enabled => "enabled",
            VersionState::Disabled => "disabled",
            VersionState::Compromised => "compromised",
            VersionState::DestroyScheduled => "destroy scheduled",
            VersionState::Destroyed => "destroyed",
        }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VersionState::Primary => "the primary",
            other => other.name(),
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Promote => "promote it",
            Operation::Enable => "enable it",
            Operation::Disable => "disable it",
            Operation::MarkCompromised => "mark it compromised",
            Operation::ScheduleDestruction { .. } => "schedule its destruction",
            Operation::CancelDestruction => "cancel its destruction",
            Operation::Destroy => "destroy it",
            Operation::DestroyImmediately => "destroy it immediately",
        })
    }
}
