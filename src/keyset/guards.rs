//! Guards: holds, required evidence and implausible clocks refuse an operation that the state allows.

use super::labels::{LabelFault, is_value};
use super::{ChangeOptions, Keyset, LifecycleError, Operation, VersionRecord};
use crate::format::KeyVersion;
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

/// Maximum difference of two clocks, as by a wrong time zone: a date on record further ahead of the clock
/// is implausible.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// Maximum time from the newest date on record to a plausible clock: ten years.
pub(crate) const MAX_QUIET: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Why an operation was refused that the state of the version allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Guard {
    /// The version or its key is on hold ([`Change::Hold`](crate::keyset::Change::Hold)).
    #[error("it is on hold since {since}: {reason}")]
    OnHold {
        /// The date of the hold.
        since: Timestamp,
        /// The operator's reason.
        reason: String,
    },
    /// The key requires evidence for a destruction
    /// ([`Change::RequireEvidence`](crate::keyset::Change::RequireEvidence)), and the options have none
    /// ([`ChangeOptions::on_evidence`]).
    #[error("evidence is required")]
    EvidenceRequired,
    /// The clock is implausible: it is more than [`MAX_CLOCK_SKEW`] behind the newest date on record, or
    /// ten years ahead of it. Correct the clock, or the dates
    /// ([`Change::CorrectDates`](crate::keyset::Change::CorrectDates)).
    #[error("the clock is at {now}, the newest date on record is {newest}")]
    Clock {
        /// The newest date on record.
        newest: Timestamp,
        /// The time of the clock.
        now: Timestamp,
    },
}

/// Keeps policies, and the erasure of a key, off a version or off all versions of a key.
///
/// Boxed, so that a record without one has no room for one: what lay on the stack would be moved along in
/// it (`tests/residue/main.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold(Box<Note>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    since: Timestamp,
    reason: String,
}

impl Hold {
    /// Returns a hold since `since` for `reason`.
    ///
    /// # Errors
    ///
    /// [`LabelFault::Value`] if the reason has more than 256 bytes or a control character.
    pub fn new(since: Timestamp, reason: &str) -> Result<Self, LabelFault> {
        if is_value(reason) {
            Ok(Hold(Box::new(Note { since, reason: reason.into() })))
        } else {
            Err(LabelFault::Value)
        }
    }

    /// Returns the date of the hold.
    pub fn since(&self) -> Timestamp {
        self.0.since
    }

    /// Returns the reason.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl Keyset {
    /// Returns the newest date on record of all versions, scheduled destructions excluded.
    pub fn newest_date(&self) -> Option<Timestamp> {
        self.versions.iter().map(VersionRecord::newest_date).max()
    }

    /// Returns the date for a change at `now`: the newest date on record if the clock is less than a day
    /// behind it, so that no grace period gets shorter.
    pub(super) fn date(&self, now: Timestamp) -> Timestamp {
        let newest = self.newest_date().unwrap_or(now).max(now);
        if newest.since(now) <= MAX_CLOCK_SKEW { newest } else { now }
    }

    /// Fails if a guard refuses `operation` for a version with `hold`.
    pub(super) fn check_guards(
        &self,
        version: KeyVersion,
        hold: Option<&Hold>,
        operation: Operation,
        options: &ChangeOptions,
    ) -> Result<(), LifecycleError> {
        let key = &self.name;
        let refused =
            |guard| Err(LifecycleError::Guarded { key: key.clone(), version, operation, guard });
        let (dated, destroys) = match operation {
            Operation::ScheduleDestruction { .. } => (true, false),
            Operation::Destroy => (true, true),
            Operation::DestroyImmediately => (false, true),
            _ => return Ok(()),
        };
        let hold = self.key.hold.as_ref().or(hold).filter(|_| destroys);
        if let Some(hold) = hold {
            let (since, reason) = (hold.since(), hold.reason().into());
            return refused(Guard::OnHold { since, reason });
        }
        if destroys && self.evidence_required() && options.evidence().is_none() {
            return refused(Guard::EvidenceRequired);
        }
        let now = options.now();
        let newest = self.newest_date().unwrap_or(now);
        let mut is_ahead = destroys && now.since(newest) > MAX_QUIET;
        if let Operation::ScheduleDestruction { after } = operation {
            // Times saturate at the end of 9999, which would shorten the delay.
            is_ahead = now.plus(after).since(now) < after;
        }
        if dated && (newest.since(now) > MAX_CLOCK_SKEW || is_ahead) {
            return refused(Guard::Clock { newest, now });
        }
        Ok(())
    }

    /// Sets or lifts the hold of a version, or of the key.
    pub(super) fn set_hold(
        &mut self,
        version: Option<KeyVersion>,
        hold: Option<Hold>,
    ) -> Result<(), LifecycleError> {
        let Some(version) = version else {
            self.key.hold = hold;
            return Ok(());
        };
        let record = self.record_mut(version)?;
        if hold.is_none() {
            record.kept = None;
        }
        record.hold = hold;
        Ok(())
    }

    /// Sets every date on record after `now` to `now`. Dates of destructions stay, since a clock that is
    /// behind must not advance one.
    pub(super) fn correct_dates(&mut self, now: Timestamp) {
        for record in &mut self.versions {
            record.created = record.created.min(now);
            record.state_since = record.state_since.min(now);
            for date in [
                &mut record.promoted,
                &mut record.last_promoted,
                &mut record.compromised,
                &mut record.kept,
            ] {
                *date = date.map(|date| date.min(now));
            }
        }
    }
}
