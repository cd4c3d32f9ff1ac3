//! What is due, why, and what comes next.

use super::RotationPolicy;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyset::{Change, Keyset, Keysets, Operation, VersionRecord, VersionState};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// What a policy wants done to one master key, and when it will want something next.
///
/// Made by [`RotationPolicy::plan`], carried out by [`Plan::apply`]. `Display` explains it in a
/// few lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) key: String,
    pub(super) change: u64,
    due: Vec<Due>,
    next: Option<Due>,
}

/// One thing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
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

impl RotationPolicy {
    /// Tells what is due for the master key `key`, or the one that this alias stands for, at
    /// `now`. Pure: nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownKey`].
    pub fn plan(&self, keysets: &Keysets, key: &str, now: Timestamp) -> Result<Plan, Error> {
        let keyset = keysets.resolve(key)?;
        let mut wanted = Vec::new();
        self.want_rotation(keyset, now, &mut wanted);
        for record in keyset.versions() {
            self.want_retirement(record, &mut wanted);
        }
        let is_due = |due: &Due| due.at <= now;
        let next = wanted.iter().filter(|due| !is_due(due)).min_by_key(|due| due.at).copied();
        wanted.retain(is_due);
        let key = keyset.name().as_str().into();
        Ok(Plan { key, change: keysets.change(), due: wanted, next })
    }

    /// The next step of a rotation, due or to come.
    fn want_rotation(&self, keyset: &Keyset, now: Timestamp, wanted: &mut Vec<Due>) {
        let Some((reason, at)) = self.rotation(keyset, now) else { return };
        let newest = keyset.versions().iter().rev();
        let pending = newest.take_while(|record| record.state != VersionState::Primary);
        let pending = pending
            .filter(|record| record.state == VersionState::Pending && record.compromised.is_none());
        let pending = pending.last();
        // Nothing is encrypted meanwhile: what is distributed already is better than what nobody
        // has.
        let stopped = matches!(reason, Reason::Compromised { .. } | Reason::NoPrimary);
        let due = match (self.distribute_for, pending) {
            (_, Some(pending)) if stopped => {
                Due { action: Action::Promote(pending.version), reason, at }
            }
            (Some(time), Some(pending)) => {
                let at = at.max(pending.created.plus(time));
                Due { action: Action::Promote(pending.version), reason, at }
            }
            (Some(time), None) if !stopped => {
                let ahead = at.unix_seconds().saturating_sub(time.as_secs());
                let (reason, at) = match at > now {
                    true => (Reason::Distribution, Timestamp::from_unix_seconds(ahead)),
                    false => (reason, at),
                };
                Due { action: Action::AddVersion, reason, at }
            }
            _ => Due { action: Action::Rotate, reason, at },
        };
        wanted.push(due);
    }

    /// Why and when a rotation is due: the earliest of the reasons.
    fn rotation(&self, keyset: &Keyset, now: Timestamp) -> Option<(Reason, Timestamp)> {
        let Some(primary) = keyset.primary_record() else {
            // The one that was the primary last, as far as the records say.
            let promoted = keyset.versions().iter().filter(|record| record.promoted.is_some());
            let last = promoted.max_by_key(|record| (record.promoted, record.version));
            let compromised = last.and_then(|record| Some((record.version, record.compromised?)));
            return Some(match compromised {
                Some((version, at)) => (Reason::Compromised { version }, at),
                None => (Reason::NoPrimary, now),
            });
        };
        let usage = primary.usage;
        let wraps = self.rotate_after_wraps.filter(|limit| usage.wraps >= *limit);
        if let Some(limit) = wraps {
            let (wraps, is_reserved) = (usage.wraps, primary.is_reserved);
            return Some((Reason::Wraps { wraps, is_reserved, limit }, now));
        }
        let bytes = self.rotate_after_bytes.filter(|limit| usage.bytes >= *limit);
        if let Some(limit) = bytes {
            return Some((Reason::Bytes { bytes: usage.bytes, limit }, now));
        }
        let limit = self.rotate_after?;
        let promoted = primary.promoted.unwrap_or(primary.created);
        let is_other =
            |record: &VersionRecord| record.version != primary.version && record.promoted.is_some();
        let reason = match keyset.versions().iter().any(is_other) {
            true => Reason::Age { limit },
            false => Reason::NeverRotated { limit },
        };
        Some((reason, promoted.plus(limit)))
    }

    /// The next step in retiring a version, due or to come.
    fn want_retirement(&self, record: &VersionRecord, wanted: &mut Vec<Due>) {
        let version = record.version;
        let since = record.state_since;
        let after = |grace: Option<Duration>, action| {
            let grace = grace?;
            Some(Due { action, reason: Reason::GraceOver { grace }, at: since.plus(grace) })
        };
        let due = match record.state {
            VersionState::Enabled => after(self.disable_after, Action::Disable(version)),
            VersionState::Compromised => {
                after(self.disable_compromised_after, Action::Disable(version))
            }
            VersionState::Disabled => {
                let action = Action::ScheduleDestruction(version, self.destruction_delay);
                after(self.schedule_destruction_after, action)
            }
            VersionState::DestroyScheduled if !self.keep_scheduled => record.destroy_at.map(|at| {
                Due { action: Action::Destroy(version), reason: Reason::DestructionDue, at }
            }),
            _ => None,
        };
        wanted.extend(due);
    }
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
    pub fn due(&self) -> &[Due] {
        &self.due
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// What comes next, and when, going by time alone; wraps and bytes may bring it forward.
    pub fn next(&self) -> Option<&Due> {
        self.next.as_ref()
    }

    /// The changes that the plan comes to at `now`: what was planned for a later time is left out.
    pub fn changes(&self, now: Timestamp) -> Vec<Change<'_>> {
        let key = self.key.as_str();
        let operate = |version, operation| Change::Version { key, version, operation };
        let change = |due: &Due| match due.action {
            Action::Rotate => Change::Rotate { key },
            Action::AddVersion => {
                Change::AddVersion { key, version: None, material: crate::keyset::Material::Fresh }
            }
            Action::Promote(version) => operate(version, Operation::Promote),
            Action::Disable(version) => operate(version, Operation::Disable),
            Action::ScheduleDestruction(version, after) => {
                operate(version, Operation::ScheduleDestruction { after })
            }
            Action::Destroy(version) => operate(version, Operation::Destroy),
        };
        self.due.iter().filter(|due| due.at <= now).map(change).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: ", self.key)?;
        if self.due.is_empty() {
            f.write_str("nothing is due")?;
        }
        for (index, due) in self.due.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}, since {}: {}", due.action, due.at, due.reason)?;
        }
        match &self.next {
            Some(next) => write!(f, "; next: {}, at {}: {}", next.action, next.at, next.reason),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Rotate => f.write_str("rotate"),
            Action::AddVersion => f.write_str("add a version"),
            Action::Promote(version) => write!(f, "promote version {version}"),
            Action::Disable(version) => write!(f, "disable version {version}"),
            Action::ScheduleDestruction(version, after) => {
                write!(f, "schedule destruction of version {version} in {}", Days(*after))
            }
            Action::Destroy(version) => write!(f, "destroy version {version}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Age { limit } => write!(f, "the primary is {} old", Days(*limit)),
            Reason::NeverRotated { limit } => {
                write!(f, "the primary is {} old and was never rotated", Days(*limit))
            }
            Reason::Wraps { wraps, is_reserved: false, limit } => {
                write!(f, "the primary has wrapped at least {wraps} data keys, {limit} are allowed")
            }
            Reason::Wraps { wraps, is_reserved: true, limit } => {
                let what = "data keys are wrapped or reserved under the primary";
                write!(f, "{wraps} {what}, {limit} are allowed")
            }
            Reason::Bytes { bytes, limit } => {
                write!(f, "the primary protects at least {bytes} bytes, {limit} are allowed")
            }
            Reason::Compromised { version } => write!(f, "version {version} is compromised"),
            Reason::NoPrimary => f.write_str("no version wraps"),
            Reason::Distribution => f.write_str("the next version is distributed ahead"),
            Reason::GraceOver { grace } => {
                write!(f, "the grace period of {} is over", Days(*grace))
            }
            Reason::DestructionDue => f.write_str("the date of its destruction has come"),
        }
    }
}

/// A duration in days, as operators count.
struct Days(Duration);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 86_400, seconds % 86_400) {
            (1, 0) => f.write_str("1 day"),
            (days, 0) => write!(f, "{days} days"),
            _ => write!(f, "{seconds} seconds"),
        }
    }
}
