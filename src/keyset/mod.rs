//! The versions of master keys: a pure state machine, without key material, clock or I/O.

mod aliases;
mod change;
mod error;
mod freshness;
mod guards;
mod hold;
mod keyset_map;
mod labels;
mod record;
mod removal;
mod state;

#[cfg(all(feature = "file", unix))]
pub(crate) use aliases::{Alias, MAX_FORMER_KEYS};
pub use change::{Change, ChangeOptions, ChangeOutcome, Material, Transition};
pub use error::{KeyFault, LifecycleError};
pub use freshness::{Freshness, Refusal};
pub(crate) use guards::MAX_QUIET;
pub use guards::{Guard, MAX_CLOCK_SKEW};
pub use hold::Hold;
pub use keyset_map::{KeysetMap, NewMaterialFn};
pub use labels::{LabelFault, Labels, MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN, MAX_LABELS};
pub use record::{NewMaterial, Origin, Usage, VersionRecord};
#[cfg(all(feature = "file", unix))]
pub(crate) use removal::MAX_REMOVED_IDS;
pub use state::{Operation, VersionState};

use crate::format::{InvalidKeyName, KeyName, KeyVersion, MasterKeyId};
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Longest name that a keyset of this crate takes, in bytes. Headers take 255, for the names of
/// cloud keys.
pub const MAX_KEYSET_NAME_LEN: usize = 64;

const DAY: Duration = Duration::from_secs(86_400);

/// Shortest time between scheduling a destruction and the destruction.
// Saturates: never.
pub const MIN_DESTRUCTION_DELAY: Duration = DAY.saturating_mul(7);

/// Longest time between scheduling a destruction and the destruction, and the default.
// Saturates: never.
pub const MAX_DESTRUCTION_DELAY: Duration = DAY.saturating_mul(30);

/// The versions of one master key, their states, and which one is the primary.
///
/// Every keyring with a lifecycle keeps one for each master key; it decides what a version may
/// do, and the keyring does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    name: String,
    key: KeyRecord,
    /// Sorted by version: numbers only grow.
    versions: Vec<VersionRecord>,
}

/// What is on record of a master key itself, its name aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    /// The highest version number that was ever taken; zero before the first.
    pub(crate) highest_version: u32,
    /// Records of versions below were removed.
    pub(crate) floor: u32,
    /// The ids of the material of versions whose records were removed, lowest version first.
    pub(crate) removed: Vec<MasterKeyId>,
    /// When the key was erased, if it was.
    pub(crate) erased: Option<Timestamp>,
    /// What keeps policies off all versions.
    pub(crate) hold: Option<Hold>,
    /// Whether a version is destroyed on evidence only.
    pub(crate) evidence_required: bool,
    /// When and why evidence was last waived.
    pub(crate) evidence_waived: Option<Hold>,
    /// The number of the last change of the key itself.
    pub(crate) changed: u64,
}

impl Keyset {
    /// A keyset without versions.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes.
    pub fn new(name: &str) -> Result<Self, LifecycleError> {
        Keyset::restore(name, 0, Vec::new())
    }

    /// A keyset of records that were stored; `highest_version` is the highest version number that
    /// was ever taken, which may be that of a record that is lost.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] as for [`new`](Self::new); [`LifecycleError::VersionNumber`] if the versions do
    /// not grow strictly or go beyond `highest_version`, or if two are the primary.
    pub fn restore(
        name: &str,
        highest_version: u32,
        versions: Vec<VersionRecord>,
    ) -> Result<Self, LifecycleError> {
        let key = KeyRecord { highest_version, ..KeyRecord::default() };
        Keyset::of_records(name, key, versions)
    }

    /// A keyset of records that were stored, as [`restore`](Self::restore).
    pub(crate) fn of_records(
        name: &str,
        key: KeyRecord,
        versions: Vec<VersionRecord>,
    ) -> Result<Self, LifecycleError> {
        check_name(name)?;
        let mut keyset = Keyset { name: name.into(), key, versions };
        keyset.versions.iter_mut().for_each(VersionRecord::settle);
        let mut last = 0;
        let mut primary = false;
        for record in &keyset.versions {
            let number = record.version.number();
            let second = primary && record.state == VersionState::Primary;
            if number <= last || number > keyset.key.highest_version || second {
                return Err(keyset.spent(record.version));
            }
            last = number;
            primary |= record.state == VersionState::Primary;
        }
        Ok(keyset)
    }

    /// The name of the master key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName::checked(&self.name)
    }

    /// The version that wraps, if one was promoted.
    pub fn primary(&self) -> Option<KeyVersion> {
        self.primary_record().map(|record| record.version)
    }

    /// The record of the version that wraps.
    pub fn primary_record(&self) -> Option<&VersionRecord> {
        // The newest as a rule.
        self.versions.iter().rev().find(|record| record.state == VersionState::Primary)
    }

    /// Every version's record, lowest first; destroyed ones too.
    pub fn versions(&self) -> &[VersionRecord] {
        &self.versions
    }

    /// The record of one version.
    pub fn version(&self, version: KeyVersion) -> Option<&VersionRecord> {
        let found = self.versions.binary_search_by_key(&version, |record| record.version);
        self.versions.get(found.ok()?)
    }

    pub(crate) fn version_mut(&mut self, version: KeyVersion) -> Option<&mut VersionRecord> {
        let found = self.versions.binary_search_by_key(&version, |record| record.version);
        self.versions.get_mut(found.ok()?)
    }

    pub(crate) fn versions_mut(&mut self) -> impl Iterator<Item = &mut VersionRecord> {
        self.versions.iter_mut()
    }

    /// The highest version number that was ever taken, or zero.
    pub fn highest_version(&self) -> u32 {
        self.key.highest_version
    }

    /// What keeps policies off all versions, and the erasure of the key.
    pub fn hold(&self) -> Option<&Hold> {
        self.key.hold.as_ref()
    }

    /// Whether a version is destroyed on evidence only.
    pub fn evidence_required(&self) -> bool {
        self.key.evidence_required
    }

    /// When evidence that was required was last waived, and why: kept when it is required again.
    pub fn evidence_waived(&self) -> Option<&Hold> {
        self.key.evidence_waived.as_ref()
    }

    /// The number of the last change of the key itself, its versions aside: 0 if that is not
    /// known, as in a key file that was not changed since format version 1.
    pub fn changed(&self) -> u64 {
        self.key.changed
    }

    /// Notes the number `change` on each record that differs from that of `before`.
    fn note_changed(&mut self, before: Option<&Keyset>, change: u64) {
        if before.is_none_or(|before| !before.is_same_key(self)) {
            self.key.changed = change;
        }
        for record in &mut self.versions {
            if before.and_then(|before| before.version(record.version)) != Some(record) {
                record.changed = change;
            }
        }
    }

    /// Whether two keysets differ in their versions, or the number of the last change, alone.
    pub(crate) fn is_same_key(&self, other: &Keyset) -> bool {
        let changed = self.key.changed;
        self.name == other.name && self.key == KeyRecord { changed, ..other.key.clone() }
    }

    /// The number that the next version takes: above every one there was.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionNumber`] if 2^32 - 1 is taken; [`LifecycleError::Key`] if the key was erased.
    pub fn next_version(&self) -> Result<KeyVersion, LifecycleError> {
        self.check_not_erased()?;
        match KeyVersion::new(self.key.highest_version) {
            None => Ok(KeyVersion::FIRST),
            Some(last) => last.next().ok_or_else(|| self.spent(last)),
        }
    }

    /// Adds a version, pending.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionNumber`] if it is not above every version there was; [`LifecycleError::Key`] if the key
    /// was erased.
    pub fn add(
        &mut self,
        version: KeyVersion,
        material: NewMaterial,
        now: Timestamp,
    ) -> Result<(), LifecycleError> {
        self.check_free(version)?;
        self.key.highest_version = version.number();
        let now = self.date(now);
        self.versions.push(VersionRecord::new(version, material, now));
        Ok(())
    }

    /// Refuses a number that is not above every version there was.
    fn check_free(&self, version: KeyVersion) -> Result<(), LifecycleError> {
        self.check_not_erased()?;
        match KeyVersion::new(self.key.highest_version).filter(|last| *last >= version) {
            Some(last) => Err(self.spent(last)),
            None => Ok(()),
        }
    }

    /// Applies `operation` to `version` at the time of `options`.
    ///
    /// A promotion leaves the former primary enabled. After a destruction the caller wipes the
    /// key material. Dates do not go back: a clock that is less than a day behind the newest date on
    /// record is taken for that.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] by [`VersionState::after`];
    /// [`LifecycleError::DestructionDelay`] if the time is not 7 to 30 days; [`LifecycleError::DestructionNotDue`]
    /// if the date has not come; [`LifecycleError::Guarded`] by [`Guard`]. Nothing has changed then.
    pub fn apply(
        &mut self,
        version: KeyVersion,
        operation: Operation,
        options: &ChangeOptions,
    ) -> Result<(), LifecycleError> {
        let after = self.check(version, operation, options)?;
        let now = self.date(options.now());
        if operation == Operation::Promote {
            let former = self.primary().filter(|former| *former != version);
            if let Some(former) = former.and_then(|former| self.version_mut(former)) {
                former.enter(VersionState::Enabled, now);
            }
        }
        if let Some(record) = self.version_mut(version) {
            record.enter(after, now);
            record.note(operation, options, now);
        }
        Ok(())
    }

    /// The state that `operation` takes `version` to.
    fn check(
        &self,
        version: KeyVersion,
        operation: Operation,
        options: &ChangeOptions,
    ) -> Result<VersionState, LifecycleError> {
        let key = || self.name.clone();
        let record = self.version(version);
        let record = record.ok_or_else(|| match self.no_record(version) {
            LifecycleError::RecordRemoved { key, version } => {
                let state = VersionState::Destroyed;
                LifecycleError::VersionState { key, version, state, operation }
            }
            unknown => unknown,
        })?;
        let state = record.state;
        let refused = || LifecycleError::VersionState { key: key(), version, state, operation };
        let after = state.after(operation).ok_or_else(refused)?;
        let after = match operation {
            Operation::Enable if record.compromised.is_some() => VersionState::Compromised,
            // Whatever state a stored record has.
            Operation::Promote if record.compromised.is_some() => return Err(refused()),
            // It would move the date on which others learnt of it.
            Operation::MarkCompromised if record.compromised.is_some() => return Err(refused()),
            Operation::ScheduleDestruction { after: delay }
                if !(MIN_DESTRUCTION_DELAY..=MAX_DESTRUCTION_DELAY).contains(&delay) =>
            {
                return Err(LifecycleError::DestructionDelay { delay });
            }
            Operation::Destroy => match record.destroy_at {
                Some(due) if due <= options.now() => after,
                Some(due) => {
                    return Err(LifecycleError::DestructionNotDue { key: key(), version, due });
                }
                // Of a stored record that has lost its date.
                None => return Err(refused()),
            },
            _ => after,
        };
        self.check_guards(record, operation, options)?;
        Ok(after)
    }

    fn spent(&self, last: KeyVersion) -> LifecycleError {
        LifecycleError::VersionNumber { key: self.name.clone(), last }
    }
}

impl VersionRecord {
    /// Makes a stored record one that this machine can have come to, whoever wrote it.
    fn settle(&mut self) {
        self.heed_compromise();
        self.last_promoted = self.last_promoted.max(self.promoted);
    }

    /// Notes what `operation` brings at `now`, which no date on record is after, within reason.
    fn note(&mut self, operation: Operation, options: &ChangeOptions, now: Timestamp) {
        match operation {
            Operation::Promote => {
                self.promoted.get_or_insert(now);
                self.last_promoted = Some(self.state_since);
            }
            Operation::MarkCompromised => self.compromised = Some(now),
            Operation::ScheduleDestruction { after } => self.destroy_at = Some(now.plus(after)),
            Operation::CancelDestruction => {
                self.destroy_at = None;
                self.kept = Some(now);
            }
            Operation::Destroy | Operation::DestroyImmediately => {
                self.destroy_at = None;
                self.evidence = options.evidence().copied().map(Box::new);
            }
            Operation::Enable => self.kept = Some(now),
            Operation::Disable => {}
        }
    }

    /// Never has a version with a date of compromise in a state that could make it the primary.
    // FORMAT F-COMPROMISED
    pub(crate) fn heed_compromise(&mut self) {
        use VersionState::{Compromised, Enabled, Pending, Primary};
        if self.compromised.is_some() && matches!(self.state, Pending | Primary | Enabled) {
            self.state = Compromised;
        }
    }

    fn enter(&mut self, state: VersionState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.state_since = now;
            self.kept = None;
        }
    }
}

fn check_name(name: &str) -> Result<(), LifecycleError> {
    KeyName::new(name)?;
    if name.len() > MAX_KEYSET_NAME_LEN {
        return Err(InvalidKeyName { offset: MAX_KEYSET_NAME_LEN }.into());
    }
    Ok(())
}
