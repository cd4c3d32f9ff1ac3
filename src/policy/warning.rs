//! What a plan leaves to an operator, and why.

use super::plan::PlannedAction;
use crate::format::KeyVersion;
use crate::time::Timestamp;

/// What an operator has to know or to decide before a policy goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A version has a date that is more than a day ahead of the clock, or a destruction that is
    /// scheduled for more than 31 days from now: a change was made under a wrong clock, or this one
    /// is wrong. Nothing is disabled or destroyed by such a date.
    /// [`Change::CorrectDates`](crate::keyset::Change::CorrectDates) mends the record.
    FutureDate {
        /// The version.
        version: KeyVersion,
        /// The date.
        date: Timestamp,
    },
    /// The clock contradicts the record: it is more than 10 years ahead of the newest date there, or
    /// behind it and not set at all (before 2026). Nothing is due by such a clock.
    Clock {
        /// The newest date on record.
        newest: Timestamp,
    },
    /// Something is due and left undone: an operator holds the version or the key.
    OnHold {
        /// What is due.
        due: PlannedAction,
    },
    /// The primary has reached a limit of use and stays: an operator promoted it although a newer
    /// version was the primary before. Rotate once that one's fault is known.
    RolledBack {
        /// What is due.
        due: PlannedAction,
    },
    /// A destruction is due and left to an operator: the policy keeps what is scheduled, or it is
    /// due for more than 7 days, by which a policy that is asked regularly had done it under a
    /// right clock.
    Unconfirmed {
        /// What is due.
        due: PlannedAction,
    },
    /// A destruction is due and left undone: the key's versions are destroyed on evidence only.
    EvidenceRequired {
        /// What is due.
        due: PlannedAction,
    },
    /// A rotation is due and impossible: all version numbers are taken. Move to a key of another
    /// name.
    NoVersionLeft {
        /// What is due.
        due: PlannedAction,
    },
}
