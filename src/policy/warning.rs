//! Warnings of a plan to an operator.

use super::plan::PlannedAction;
use crate::format::KeyVersion;
use crate::time::Timestamp;

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
