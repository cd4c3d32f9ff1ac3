//! What is due, why, and what comes next: plans as data.

use super::planner::DESTRUCTION_WINDOW;
use super::warning::Warning;
use crate::format::KeyVersion;
use crate::keyset::{Change, Material, Operation};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What a policy wants done to one master key, and when it will want something next.
///
/// Made by [`RotationPolicy::plan`](super::RotationPolicy::plan), carried out by
/// [`Plan::apply`]. `Display` explains it in a few lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) key: String,
    pub(super) change: u64,
    pub(super) due: Vec<PlannedAction>,
    pub(super) next: Option<PlannedAction>,
    pub(super) warnings: Vec<Warning>,
}

/// What a policy wants done to every master key of a keyring.
///
/// Made by [`RotationPolicy::plan_all`](super::RotationPolicy::plan_all), carried out in one change
/// by [`KeyringPlan::apply`]. `Display` has a line for each key of which there is something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringPlan {
    pub(super) change: u64,
    pub(super) plans: Vec<Plan>,
}

/// One thing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedAction {
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Since when, or from when on.
    pub at: Timestamp,
}

/// What a policy wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Add a version and promote it.
    Rotate,
    /// Add a version, pending, to be promoted once it is distributed.
    AddVersion,
    /// Promote the pending version.
    Promote(KeyVersion),
    /// Disable the version.
    Disable(KeyVersion),
    /// Schedule the destruction of the version.
    ScheduleDestruction(KeyVersion, Duration),
    /// Destroy the version.
    Destroy(KeyVersion),
}

/// Why something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The primary has reached its age.
    Age {
        /// The age that it may reach.
        limit: Duration,
    },
    /// The primary has reached its age, and is the only version that ever was one.
    NeverRotated {
        /// The age that it may reach.
        limit: Duration,
    },
    /// The date of the primary's last promotion is more than a day ahead of the clock, so its age is
    /// not known.
    PromotedInFuture {
        /// The date.
        promoted: Timestamp,
    },
    /// The primary has wrapped enough data keys.
    Wraps {
        /// How many it has wrapped.
        wraps: u64,
        /// Whether these are made or reserved, and so the most that there are; else there are at
        /// least so many.
        is_reserved: bool,
        /// How many it may.
        limit: u64,
    },
    /// Enough plaintext is under the primary.
    Bytes {
        /// How many bytes there are at least.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The version was marked compromised.
    Compromised {
        /// The version.
        version: KeyVersion,
    },
    /// No version wraps.
    NoPrimary,
    /// The time to distribute the next version has begun.
    Distribution,
    /// The grace period is over.
    GraceOver {
        /// How long it was.
        grace: Duration,
    },
    /// The date of the destruction has come.
    DestructionDue,
}

impl Plan {
    /// The name of the master key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The change number of the keysets that the plan was made of.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// What is due.
    pub fn due(&self) -> &[PlannedAction] {
        &self.due
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// What comes next, and when, going by time alone; wraps and bytes may bring it forward.
    pub fn next(&self) -> Option<&PlannedAction> {
        self.next.as_ref()
    }

    /// What an operator has to know or to decide: dates that cannot be right, and what is due and
    /// is left undone. Whoever runs a policy by a timer reports these.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The changes that the plan comes to at `now`: what was planned for a later time is left out,
    /// and a destruction that is due for more than 7 days by then.
    pub fn changes(&self, now: Timestamp) -> Vec<Change<'_>> {
        let is_late = |due: &PlannedAction| {
            matches!(due.action, Action::Destroy(_)) && now.since(due.at) > DESTRUCTION_WINDOW
        };
        let due = self.due.iter().filter(|due| due.at <= now && !is_late(due));
        due.map(|due| due.action.change(&self.key)).collect()
    }
}

impl KeyringPlan {
    /// The plan of every master key, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Plan> {
        self.plans.iter()
    }

    /// The change number of the keysets that the plans were made of.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.plans.iter().all(Plan::is_empty)
    }

    /// What comes next, of which key, and when, as [`Plan::next`].
    pub fn next(&self) -> Option<(&str, &PlannedAction)> {
        let next = self.plans.iter().filter_map(|plan| Some((plan.key(), plan.next()?)));
        next.min_by_key(|(_, due)| due.at)
    }

    /// The changes that the plans come to at `now`, as [`Plan::changes`].
    pub fn changes(&self, now: Timestamp) -> Vec<Change<'_>> {
        self.plans.iter().flat_map(|plan| plan.changes(now)).collect()
    }
}

impl Action {
    fn change(self, key: &str) -> Change<'_> {
        let operate = |version, operation| Change::Version { key, version, operation };
        match self {
            Action::Rotate => Change::Rotate { key },
            Action::AddVersion => {
                Change::AddVersion { key, version: None, material: Material::Fresh }
            }
            Action::Promote(version) => operate(version, Operation::Promote),
            Action::Disable(version) => operate(version, Operation::Disable),
            Action::ScheduleDestruction(version, after) => {
                operate(version, Operation::ScheduleDestruction { after })
            }
            Action::Destroy(version) => operate(version, Operation::Destroy),
        }
    }
}
