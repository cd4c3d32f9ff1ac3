//! States of a version and what each operation makes of them.

use crate::keyring::Refusal;
use core::fmt;

/// State of one version of a master key.
///
/// | state | wraps | unwraps |
/// |---|---|---|
/// | pending | no | yes |
/// | primary | yes | yes |
/// | enabled | no | yes |
/// | disabled | no | no |
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
}

impl VersionState {
    /// The state that `operation` takes a version to, or `None` if it is not allowed.
    pub const fn after(self, operation: Operation) -> Option<VersionState> {
        use VersionState::{Disabled, Enabled, Pending, Primary};
        match (self, operation) {
            (Pending | Primary | Enabled, Operation::Promote) => Some(Primary),
            (Disabled, Operation::Enable) => Some(Enabled),
            (Pending | Enabled, Operation::Disable) => Some(Disabled),
            // The primary cannot be disabled: promote another first.
            (Disabled, Operation::Promote | Operation::Disable)
            | (Pending | Primary | Enabled, Operation::Enable)
            | (Primary, Operation::Disable) => None,
        }
    }

    /// Why a version in this state does not unwrap, or `None` if it does.
    pub const fn unwrap_refusal(self) -> Option<Refusal> {
        match self {
            VersionState::Pending | VersionState::Primary | VersionState::Enabled => None,
            VersionState::Disabled => Some(Refusal::Disabled),
        }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VersionState::Pending => "pending",
            VersionState::Primary => "the primary",
            VersionState::Enabled => "enabled",
            VersionState::Disabled => "disabled",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Promote => "promote it",
            Operation::Enable => "enable it",
            Operation::Disable => "disable it",
        })
    }
}
