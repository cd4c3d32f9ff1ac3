//! States of a version and what each operation makes of them.

use super::Refusal;
use core::fmt;
use core::time::Duration;

/// State of one version of a master key.
///
/// What each state does, and what each operation makes of it; an empty cell is refused with
/// [`LifecycleError::VersionState`](crate::LifecycleError::VersionState):
///
#[doc = include_str!("states.md")]
///
/// - A version that was marked compromised stays so for good: enabling it takes it back to
///   compromised, not to enabled, and it is never promoted, whatever its state.
/// - The primary is never disabled or destroyed: promote another first. Once it is marked
///   compromised there is no primary, and nothing is encrypted until a version is promoted;
///   where messages must go on, rotate first and mark the former primary afterwards.
/// - Destroyed is final. The record stays, and the number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionState {
    /// Added and not yet promoted: distribute it first.
    Pending,
    /// The one version that wraps.
    Primary,
    /// Was the primary; unwraps.
    Enabled,
    /// Refuses to unwrap until it is enabled again.
    Disabled,
    /// Known to others. Unwraps, so that messages can be encrypted anew; a strict keyring
    /// refuses it.
    Compromised,
    /// Refuses to unwrap, and is destroyed once its date has come; can be cancelled.
    DestroyScheduled,
    /// Its key material is gone.
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
    /// Note that others know it. Cannot be taken back.
    MarkCompromised,
    /// Have it destroyed once some time has passed.
    ScheduleDestruction {
        /// The time to pass: 7 to 30 days.
        after: Duration,
    },
    /// Take back the scheduled destruction; the version is disabled.
    CancelDestruction,
    /// Wipe the key material of a version whose date has come.
    Destroy,
    /// Wipe the key material now, whatever the date. What was encrypted under the version and
    /// not rewrapped is lost for good.
    DestroyImmediately,
}

impl VersionState {
    /// Every state, in the order of the table.
    pub const ALL: [VersionState; 7] = [
        VersionState::Pending,
        VersionState::Primary,
        VersionState::Enabled,
        VersionState::Disabled,
        VersionState::Compromised,
        VersionState::DestroyScheduled,
        VersionState::Destroyed,
    ];

    /// The state that `operation` takes a version to, or `None` if it is not allowed.
    ///
    /// A [`Keyset`](crate::keyset::Keyset) asks besides whether a destruction is due, and enables a
    /// version that was marked compromised to that state.
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

    /// Whether a version in this state wraps.
    pub const fn wraps(self) -> bool {
        matches!(self, VersionState::Primary)
    }

    /// Why a version in this state does not unwrap, or `None` if it does (SPEC O-STATES).
    ///
    /// A compromised one does; a keyring that was told to be strict refuses it all the same.
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

    /// The name of the state, as key files have it.
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
