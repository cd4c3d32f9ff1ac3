//! What keeps a version from an operation that its state allows: holds, evidence, and clocks that
//! the dates on record contradict.

use super::LifecycleError;
use super::keyset_map::Work;
use super::{
    ChangeOptions, Hold, Keyset, MAX_DESTRUCTION_DELAY, Operation, Transition, VersionRecord,
};
use crate::format::KeyVersion;
use crate::time::Timestamp;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// How far two clocks may be apart, as a wrong time zone does: a date on record that is further
/// ahead than this is not believed.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// How long after the newest date on record a clock is believed: ten years.
pub(crate) const MAX_QUIET: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Why an operation is refused that the state of the version allows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// The version or its key is held ([`Change::Hold`](crate::keyset::Change::Hold)).
    OnHold {
        /// Since when.
        since: Timestamp,
        /// The operator's reason.
        reason: String,
    },
    /// Versions of the key are destroyed on evidence only
    /// ([`Change::RequireEvidence`](crate::keyset::Change::RequireEvidence)), and the options have the digest of
    /// no judgement ([`ChangeOptions::on_evidence`]).
    EvidenceRequired,
    /// The clock and the newest date on record contradict each other: it is more than
    /// [`MAX_CLOCK_SKEW`] behind that date, or ten years ahead of it. Correct the clock, or the dates
    /// ([`Change::CorrectDates`](crate::keyset::Change::CorrectDates)).
    Clock {
        /// The newest date on record.
        newest: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::OnHold { since, reason } => write!(f, "it is held since {since}: {reason}"),
            Guard::EvidenceRequired => f.write_str("evidence is required"),
            Guard::Clock { newest, now } => {
                write!(f, "the clock is at {now}, the newest date on record is {newest}")
            }
        }
    }
}

impl Keyset {
    /// The newest date on record of any version; dates of destructions to come do not count.
    pub fn newest_date(&self) -> Option<Timestamp> {
        self.versions.iter().map(VersionRecord::newest_date).max()
    }

    /// The date of a change at `now`: a clock that is a little behind shortens no grace.
    pub(super) fn date(&self, now: Timestamp) -> Timestamp {
        let newest = self.newest_date().unwrap_or(now).max(now);
        if newest.since(now) <= MAX_CLOCK_SKEW { newest } else { now }
    }

    /// Refuses an operation that something keeps from the version of `record`.
    pub(super) fn check_guards(
        &self,
        record: &VersionRecord,
        operation: Operation,
        options: &ChangeOptions,
    ) -> Result<(), LifecycleError> {
        self.check_guards_of(record.version, record.hold.as_ref(), operation, options)
    }

    /// Refuses an operation that something keeps from a version with `hold`.
    pub(super) fn check_guards_of(
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
        if destroys && self.key.evidence_required && options.evidence().is_none() {
            return refused(Guard::EvidenceRequired);
        }
        let now = options.now();
        let newest = self.newest_date().unwrap_or(now);
        let mut is_ahead = destroys && now.since(newest) > MAX_QUIET;
        if let Operation::ScheduleDestruction { after } = operation {
            // Times end with the year 9999: a delay that goes beyond would be cut short.
            is_ahead = now.plus(after).since(now) < after;
        }
        if dated && (newest.since(now) > MAX_CLOCK_SKEW || is_ahead) {
            return refused(Guard::Clock { newest, now });
        }
        Ok(())
    }

    /// Sets or lifts the hold of a version, or of all of them.
    pub(super) fn set_hold(
        &mut self,
        version: Option<KeyVersion>,
        hold: Option<Hold>,
    ) -> Result<(), LifecycleError> {
        let Some(version) = version else {
            self.key.hold = hold;
            return Ok(());
        };
        let missing = self.no_record(version);
        let record = self.version_mut(version).ok_or(missing)?;
        if hold.is_none() {
            record.kept = None;
        }
        record.hold = hold;
        Ok(())
    }

    /// Takes no date on record for later than `now`. Dates of destructions stay: a clock that is
    /// behind must not bring one forward.
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

impl Work {
    /// An operator's words, with the date of the change; `of` names what they are about.
    pub(super) fn note(&self, of: &str, reason: &str) -> Result<Hold, LifecycleError> {
        let note = Hold::new(self.options.now(), reason);
        note.map_err(|fault| LifecycleError::Label { name: of.into(), fault })
    }

    pub(super) fn set_hold(
        &mut self,
        key: &str,
        version: Option<KeyVersion>,
        hold: Option<Hold>,
    ) -> Result<(), LifecycleError> {
        let is_held = hold.is_some();
        let keyset = self.keysets.resolve_mut(key)?;
        keyset.set_hold(version, hold)?;
        let key = keyset.name.clone();
        self.transitions.push(Transition::Hold { key, version, is_held });
        Ok(())
    }

    /// Requires evidence, or waives it for a reason, which stays on record.
    pub(super) fn set_evidence(
        &mut self,
        key: &str,
        waived: Option<Hold>,
    ) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let is_required = waived.is_none();
        keyset.key.evidence_required = is_required;
        keyset.key.evidence_waived = waived.or(keyset.key.evidence_waived.take());
        let key = keyset.name.clone();
        self.transitions.push(Transition::Evidence { key, is_required });
        Ok(())
    }

    pub(super) fn correct_dates(&mut self, key: &str) -> Result<(), LifecycleError> {
        let now = self.options.now();
        let keyset = self.keysets.resolve_mut(key)?;
        keyset.correct_dates(now);
        let key = keyset.name.clone();
        self.transitions.push(Transition::Dates { key });
        Ok(())
    }
}

impl VersionRecord {
    fn newest_date(&self) -> Timestamp {
        let others = [self.promoted, self.last_promoted, self.compromised, self.kept];
        others.into_iter().flatten().fold(self.created.max(self.state_since), Timestamp::max)
    }

    /// A date of the version that is further ahead of `now` than two clocks may be apart.
    pub(crate) fn date_to_come(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.plus(MAX_CLOCK_SKEW);
        let due = self.destroy_at.filter(|due| *due > latest.plus(MAX_DESTRUCTION_DELAY));
        Some(self.newest_date()).filter(|newest| *newest > latest).or(due)
    }
}
