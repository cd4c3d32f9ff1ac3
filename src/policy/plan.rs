//! Plans as data: what is due, why, what is due next, and warnings to an operator.

use super::planner::DESTRUCTION_WINDOW;
use crate::format::KeyVersion;
use crate::keyset::{Change, Material, Operation};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The plan of a policy for one master key.
///
/// [`RotationPolicy::plan`](super::RotationPolicy::plan) makes it, [`Plan::apply`] applies it. `Display`
/// explains it on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) key: String,
    pub(super) change: u64,
    pub(super) due: Vec<PlannedAction>,
    pub(super) next: Option<PlannedAction>,
    pub(super) warnings: Vec<Warning>,
}

/// The plan of a policy for every master key of a keyring.
///
/// [`RotationPolicy::plan_all`](super::RotationPolicy::plan_all) makes it, [`KeyringPlan::apply`] applies it
/// in one change. `Display` has a line for each key with an action or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringPlan {
    pub(super) change: u64,
    pub(super) plans: Vec<Plan>,
}

/// One action with its reason and date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedAction {
    /// The action.
    pub action: Action,
    /// The reason.
    pub reason: Reason,
    /// When it is or was due.
    pub at: Timestamp,
}

/// An action of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Add a version and promote it.
    Rotate,
    /// Add a pending version, which is promoted after its distribution.
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

/// Why an action is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The primary has reached its age.
    Age {
        /// The limit of the age.
        limit: Duration,
    },
    /// The primary has reached its age, and no other version was ever the primary.
    NeverRotated {
        /// The limit of the age.
        limit: Duration,
    },
    /// The date of the primary's last promotion is more than a day ahead of the clock, so its age is
    /// not known.
    PromotedInFuture {
        /// The date.
        promoted: Timestamp,
    },
    /// The primary has reached its limit of wraps.
    Wraps {
        /// The number of wraps.
        wraps: u64,
        /// Whether the number includes reservations and so is an upper bound. Otherwise it is a lower
        /// bound.
        is_reserved: bool,
        /// The limit.
        limit: u64,
    },
    /// The primary has reached its limit of plaintext bytes.
    Bytes {
        /// The number of bytes, a lower bound.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The version was marked compromised.
    Compromised {
        /// The version.
        version: KeyVersion,
    },
    /// No version wraps.
    NoPrimary,
    /// The distribution period of the next version has begun.
    Distribution,
    /// The grace period is over.
    GraceOver {
        /// Its length.
        grace: Duration,
    },
    /// The date of the destruction has come.
    DestructionDue,
}

/// An implausible date, or an action that a plan leaves to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A version has a date more than a day ahead of the clock, or a destruction scheduled for more than 31
    /// days from now: this clock is wrong, or the clock of an earlier change was. No version is disabled
    /// or destroyed because of such a date.
    /// [`Change::CorrectDates`](crate::keyset::Change::CorrectDates) corrects the record.
    FutureDate {
        /// The version.
        version: KeyVersion,
        /// The date.
        date: Timestamp,
    },
    /// The clock contradicts the record: it is more than 10 years ahead of the newest date, or behind it
    /// and before 2026. Nothing is due under such a clock.
    Clock {
        /// The newest date on record.
        newest: Timestamp,
    },
    /// An action is due, and the version or the key is on hold.
    OnHold {
        /// The action.
        due: PlannedAction,
    },
    /// The primary has reached a usage limit and stays, since an operator rolled back to it. Rotate once
    /// the reason of the rollback is resolved.
    RolledBack {
        /// The action.
        due: PlannedAction,
    },
    /// A destruction is due and left to an operator: the policy keeps scheduled destructions, or the
    /// destruction is more than 7 days overdue, which a regular run under a right clock rules out.
    Unconfirmed {
        /// The action.
        due: PlannedAction,
    },
    /// A destruction is due, and the key requires evidence.
    EvidenceRequired {
        /// The action.
        due: PlannedAction,
    },
    /// A rotation is due and impossible: all version numbers are used. Move to a key of another name.
    NoVersionLeft {
        /// The action.
        due: PlannedAction,
    },
}

impl Plan {
    /// Returns the name of the master key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the change number of the keysets of the plan.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Returns the actions that are due.
    pub fn due(&self) -> &[PlannedAction] {
        &self.due
    }

    /// Returns whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Returns the next action by time alone. Limits of wraps and bytes may come earlier.
    pub fn next(&self) -> Option<&PlannedAction> {
        self.next.as_ref()
    }

    /// Returns implausible dates, and actions that are due and left to an operator. A program that applies
    /// plans by a timer should report them.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the changes of the plan at `now`, without actions of a later date and destructions that are
    /// more than 7 days overdue.
    pub fn changes(&self, now: Timestamp) -> Vec<Change<'_>> {
        let is_late = |due: &PlannedAction| {
            matches!(due.action, Action::Destroy(_)) && now.since(due.at) > DESTRUCTION_WINDOW
        };
        let due = self.due.iter().filter(|due| due.at <= now && !is_late(due));
        due.map(|due| due.action.change(&self.key)).collect()
    }
}

impl KeyringPlan {
    /// Returns the plan of every master key in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Plan> {
        self.plans.iter()
    }

    /// Returns the change number of the keysets of the plan.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Returns whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.plans.iter().all(Plan::is_empty)
    }

    /// Returns the next action of any key by time alone, with the name of the key.
    pub fn next(&self) -> Option<(&str, &PlannedAction)> {
        let next = self.plans.iter().filter_map(|plan| Some((plan.key(), plan.next()?)));
        next.min_by_key(|(_, due)| due.at)
    }

    /// Returns the changes of the plan at `now`, without actions of a later date and destructions that are
    /// more than 7 days overdue.
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
