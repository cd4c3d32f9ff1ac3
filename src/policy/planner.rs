//! Comparison of a policy with a keyset and a time: pure, and without effect on an operator's acts.

use super::plan::{Action, KeyringPlan, Plan, PlannedAction, Reason, Warning};
use super::{MIN_GRACE, RotationPolicy};
use crate::error::Error;
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::keyset::{
    Keyset, KeysetMap, MAX_CLOCK_SKEW, MAX_QUIET, MIN_DESTRUCTION_DELAY, VersionRecord,
    VersionState,
};
use crate::time::Timestamp;
use alloc::vec::Vec;
use core::time::Duration;

/// 2026-01-01T00:00:00Z, before the first release of this library. An earlier clock is not set.
const CLOCK_IS_SET: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

/// How long after its date a policy carries out a destruction. A longer overdue one was scheduled under
/// another clock, or the policy did not run, so it is left to an operator.
pub(super) const DESTRUCTION_WINDOW: Duration = MIN_DESTRUCTION_DELAY;

impl RotationPolicy {
    /// Plans the master key of the name or alias `key` at `now`. Pure: nothing is changed.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn plan(&self, keysets: &KeysetMap, key: &str, now: Timestamp) -> Result<Plan, Error> {
        Ok(Planner::of(self, keysets.resolve(key)?, now).plan(keysets.change()))
    }

    /// Plans every master key at `now`. Pure: nothing is changed.
    pub fn plan_all(&self, keysets: &KeysetMap, now: Timestamp) -> KeyringPlan {
        let change = keysets.change();
        let plan = |keyset: &Keyset| Planner::of(self, keyset, now).plan(change);
        KeyringPlan { change, plans: keysets.iter().map(plan).collect() }
    }
}

struct Planner<'a> {
    policy: &'a RotationPolicy,
    keyset: &'a Keyset,
    now: Timestamp,
    /// The latest plausible date on record.
    latest: Timestamp,
    wanted: Vec<PlannedAction>,
    warnings: Vec<Warning>,
}

impl<'a> Planner<'a> {
    fn of(policy: &'a RotationPolicy, keyset: &'a Keyset, now: Timestamp) -> Self {
        let latest = now.plus(MAX_CLOCK_SKEW);
        Planner { policy, keyset, now, latest, wanted: Vec::new(), warnings: Vec::new() }
    }

    fn plan(mut self, change: u64) -> Plan {
        let key = self.keyset.name().as_str().into();
        if self.keyset.erased().is_some() {
            return Plan { key, change, due: Vec::new(), next: None, warnings: Vec::new() };
        }
        if let Some(newest) = self.keyset.newest_date().filter(|newest| self.contradicts(*newest)) {
            let warnings = Vec::from([Warning::Clock { newest }]);
            return Plan { key, change, due: Vec::new(), next: None, warnings };
        }
        let dates = self.keyset.versions().iter();
        self.warnings.extend(dates.filter_map(|record| {
            let date = record.future_date(self.now)?;
            Some(Warning::FutureDate { version: record.version, date })
        }));
        self.want_rotation();
        for record in self.keyset.versions() {
            self.want_retirement(record);
        }
        let (mut due, mut next): (Vec<_>, Option<PlannedAction>) = (Vec::new(), None);
        for wanted in core::mem::take(&mut self.wanted) {
            match self.objection(wanted) {
                Some(warning) if wanted.at <= self.now => self.warnings.push(warning),
                Some(_) => {}
                None if wanted.at <= self.now => due.push(wanted),
                None if next.is_none_or(|next| wanted.at < next.at) => next = Some(wanted),
                None => {}
            }
        }
        Plan { key, change, due, next, warnings: self.warnings }
    }

    /// Returns whether the clock contradicts `newest`, the newest date on record.
    fn contradicts(&self, newest: Timestamp) -> bool {
        let is_not_set = self.now < CLOCK_IS_SET && newest > self.latest;
        is_not_set || self.now.since(newest) > MAX_QUIET
    }

    /// Adds the next step of a rotation, due or later.
    fn want_rotation(&mut self) {
        let Some((reason, at)) = self.rotation() else { return };
        let pending = self.distributed();
        // Encryption fails meanwhile, so a version that is distributed already is promoted.
        let stopped = matches!(reason, Reason::Compromised { .. } | Reason::NoPrimary);
        let due = match (self.policy.distribute_for, pending) {
            (_, Some(pending)) if stopped => {
                PlannedAction { action: Action::Promote(pending.version), reason, at }
            }
            (Some(time), Some(pending)) => {
                let at = at.max(pending.created.plus(time));
                PlannedAction { action: Action::Promote(pending.version), reason, at }
            }
            (Some(time), None) if !stopped => {
                // Saturates: at 1970.
                let ahead = at.unix_seconds().saturating_sub(time.as_secs());
                let (reason, at) = match at > self.now {
                    true => (Reason::Distribution, Timestamp::from_unix_seconds(ahead)),
                    false => (reason, at),
                };
                PlannedAction { action: Action::AddVersion, reason, at }
            }
            _ => PlannedAction { action: Action::Rotate, reason, at },
        };
        self.wanted.push(due);
    }

    /// Returns the pending version to promote next: the oldest above the primary that is not on hold and
    /// has a plausible date.
    fn distributed(&self) -> Option<&'a VersionRecord> {
        let newest = self.keyset.versions().iter().rev();
        let pending = newest.take_while(|record| record.state != VersionState::Primary);
        let may_be = |record: &&VersionRecord| {
            record.state == VersionState::Pending
                && record.compromised.is_none()
                && record.hold.is_none()
                && record.created <= self.latest
        };
        pending.filter(may_be).last()
    }

    /// Returns why and when a rotation is due, by the earliest reason.
    fn rotation(&mut self) -> Option<(Reason, Timestamp)> {
        let Some(primary) = self.keyset.primary_record() else { return self.replacement() };
        if let Some(reason) = self.use_limit(primary) {
            let due = PlannedAction { action: Action::Rotate, reason, at: self.now };
            if !self.is_rolled_back(primary) {
                return Some((reason, self.now));
            }
            self.warnings.push(Warning::RolledBack { due });
        }
        let promoted = primary.state_since.max(primary.last_promoted.unwrap_or(primary.created));
        let limit = self.policy.rotate_after?;
        // A rollback under a clock that was ahead is kept if that delays the rotation by at most one age.
        let is_kept = self.is_rolled_back(primary) && promoted.since(self.now) <= limit;
        if promoted > self.latest && !is_kept {
            return Some((Reason::PromotedInFuture { promoted }, self.now));
        }
        // Under a clock that was behind, the promotion is dated before the version was added.
        let before = self.keyset.versions().iter().take_while(|it| it.version <= primary.version);
        let added = before.map(|record| record.created).filter(|date| *date <= self.latest);
        let promoted = added.fold(promoted, Timestamp::max);
        let is_other =
            |record: &VersionRecord| record.version != primary.version && record.promoted.is_some();
        let reason = match self.keyset.versions().iter().any(is_other) {
            true => Reason::Age { limit },
            false => Reason::NeverRotated { limit },
        };
        Some((reason, promoted.plus(limit)))
    }

    /// Returns why a key without a primary needs one, or `None` if all its versions are destroyed.
    fn replacement(&self) -> Option<(Reason, Timestamp)> {
        let versions = self.keyset.versions();
        versions.iter().find(|record| record.state != VersionState::Destroyed)?;
        // The last primary on record.
        let promoted = versions.iter().filter(|record| record.promoted.is_some());
        let date = |record: &VersionRecord| record.last_promoted.max(record.promoted);
        let last = promoted.max_by_key(|record| (date(record), record.version));
        let compromised = last.and_then(|record| Some((record.version, record.compromised?)));
        Some(match compromised {
            Some((version, at)) => (Reason::Compromised { version }, at.min(self.now)),
            None => (Reason::NoPrimary, self.now),
        })
    }

    /// Returns the usage limit that `primary` has reached.
    fn use_limit(&self, primary: &VersionRecord) -> Option<Reason> {
        let (usage, is_reserved) = (primary.usage, primary.is_reserved);
        let wraps = self.policy.rotate_after_wraps.filter(|limit| usage.wraps >= *limit);
        let wraps = wraps.map(|limit| Reason::Wraps { wraps: usage.wraps, is_reserved, limit });
        let bytes = self.policy.rotate_after_bytes.filter(|limit| usage.bytes >= *limit);
        wraps.or(bytes.map(|limit| Reason::Bytes { bytes: usage.bytes, limit }))
    }

    /// Returns whether a newer version was the primary before `primary` was promoted again.
    fn is_rolled_back(&self, primary: &VersionRecord) -> bool {
        let newer = self.keyset.versions().iter().rev();
        let mut newer = newer.take_while(|record| record.version > primary.version);
        newer.any(|record| record.promoted.is_some())
    }

    /// Adds the next step of the retirement of a version, due or later.
    fn want_retirement(&mut self, record: &VersionRecord) {
        // The date of its state is implausible, or an operator keeps the state.
        if record.state_since > self.latest || record.kept.is_some() {
            return;
        }
        let version = record.version;
        // Under a clock that was behind, the state is dated before the version was added.
        let dates = [Some(record.created), record.promoted, record.last_promoted];
        let dates = dates.into_iter().flatten().filter(|date| *date <= self.latest);
        let since = dates.fold(record.state_since, Timestamp::max);
        let after = |grace: Option<Duration>, action| {
            let grace = grace?;
            Some(PlannedAction {
                action,
                reason: Reason::GraceOver { grace },
                at: since.plus(grace),
            })
        };
        let due = match record.state {
            VersionState::Enabled => after(self.policy.disable_after, Action::Disable(version)),
            VersionState::Compromised => {
                after(self.policy.disable_compromised_after, Action::Disable(version))
            }
            VersionState::Disabled => {
                let action = Action::ScheduleDestruction(version, self.policy.destruction_delay);
                after(self.policy.schedule_destruction_after, action)
            }
            VersionState::DestroyScheduled => record.destroy_at.map(|at| PlannedAction {
                action: Action::Destroy(version),
                reason: Reason::DestructionDue,
                at,
            }),
            _ => None,
        };
        self.wanted.extend(due);
    }

    /// Returns why `due` is left to an operator.
    fn objection(&self, due: PlannedAction) -> Option<Warning> {
        let primary = || self.keyset.primary_record();
        let record = match due.action {
            Action::Rotate | Action::AddVersion | Action::Promote(_) => primary(),
            Action::Disable(version)
            | Action::ScheduleDestruction(version, _)
            | Action::Destroy(version) => self.keyset.version(version),
        };
        let hold = self.keyset.hold().or(record.and_then(|record| record.hold.as_ref()));
        if hold.is_some() {
            return Some(Warning::OnHold { due });
        }
        match due.action {
            Action::Rotate | Action::AddVersion => {
                self.keyset.next_version().err().map(|_| Warning::NoVersionLeft { due })
            }
            // The keyset would refuse it, and its date would count from an implausible one.
            Action::ScheduleDestruction(..) | Action::Destroy(_)
                if self.keyset.newest_date() > Some(self.latest) =>
            {
                Some(Warning::Unconfirmed { due })
            }
            Action::Destroy(_) if self.keyset.evidence_required() => {
                Some(Warning::EvidenceRequired { due })
            }
            Action::Destroy(_)
                if self.policy.keep_scheduled || self.now.since(due.at) > DESTRUCTION_WINDOW =>
            {
                Some(Warning::Unconfirmed { due })
            }
            _ => None,
        }
    }
}

/// Returns `time`, but at least [`MIN_GRACE`].
pub(super) const fn grace(time: Duration) -> Duration {
    if time.as_secs() < MIN_GRACE.as_secs() { MIN_GRACE } else { time }
}
