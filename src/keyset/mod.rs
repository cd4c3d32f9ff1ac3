//! Keysets: the versions of master keys as a pure state machine, without key material, clock or I/O.
//!
//! A [`KeysetMap`] has a [`Keyset`] for each master key, and a keyset has a [`VersionRecord`] for each
//! version: state, dates, usage, labels. [`VersionState`] has the table of states and operations. A
//! [`Change`] is data; [`KeysetMap::with_changes`] makes several at once or none, and returns their
//! [`Transition`]s. A [`Guard`] refuses changes that would destroy too early. Keyrings with records do all
//! of this behind [`Lifecycle`](crate::Lifecycle).

mod aliases;
mod change;
mod error;
mod freshness;
mod guards;
mod keyset_map;
mod labels;
mod record;
mod removal;
mod state;
mod transaction;

#[cfg(all(feature = "file", unix))]
pub(crate) use aliases::{Alias, MAX_FORMER_KEYS};
pub use change::{Change, ChangeOptions, ChangeOutcome, Material, Transition};
pub use error::{KeyFault, LifecycleError};
pub use freshness::{Freshness, Refusal};
pub(crate) use guards::MAX_QUIET;
pub use guards::{Guard, Hold, MAX_CLOCK_SKEW};
pub use keyset_map::{KeysetMap, NewMaterialFn};
pub use labels::{LabelFault, Labels, MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN, MAX_LABELS};
pub use record::{NewMaterial, Origin, Usage, VersionRecord};
#[cfg(all(feature = "file", unix))]
pub(crate) use removal::MAX_REMOVED_IDS;
pub use state::{Operation, VersionState};

use crate::format::{InvalidKeyName, KeyName, KeyVersion, MasterKeyId};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Maximum length of the name of a keyset in bytes. Headers allow 255, for the names of cloud keys.
pub const MAX_KEYSET_NAME_LEN: usize = 64;

/// Minimum time from the scheduling of a destruction to the destruction: 7 days.
pub const MIN_DESTRUCTION_DELAY: Duration = Duration::from_secs(7 * 86_400);

/// Maximum time from the scheduling of a destruction to the destruction, and the default: 30 days.
pub const MAX_DESTRUCTION_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// The versions of one master key, their states, and the primary.
///
/// Every keyring with a lifecycle has one for each master key. The keyset decides which changes are
/// allowed, and the keyring stores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    name: String,
    key: KeyRecord,
    /// Sorted by version.
    versions: Vec<VersionRecord>,
}

/// The record of a master key itself without its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    /// The highest version number ever used, or zero.
    pub(crate) highest_version: u32,
    /// All records of versions below this number were removed.
    pub(crate) floor: u32,
    /// The ids of the material of versions whose records were removed, lowest version first.
    pub(crate) removed: Vec<MasterKeyId>,
    /// When the key was erased.
    pub(crate) erased: Option<Timestamp>,
    /// The hold on the key.
    pub(crate) hold: Option<Hold>,
    /// Whether a destruction requires evidence.
    pub(crate) evidence: EvidenceRule,
    /// When and why evidence was last waived.
    pub(crate) evidence_waived: Option<Hold>,
    /// The number of the last change of the key itself.
    pub(crate) changed: u64,
}

/// Whether a destruction requires evidence. As wide as its neighbours, so that no padding is after
/// it, in which a move could carry a piece of a key from the stack to the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum EvidenceRule {
    #[default]
    NotRequired,
    Required,
}

impl EvidenceRule {
    pub(crate) fn new(is_required: bool) -> Self {
        if is_required { EvidenceRule::Required } else { EvidenceRule::NotRequired }
    }
}

// No padding: the sum of the parts.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Keyset>() == 2 * size_of::<Vec<u8>>() + size_of::<KeyRecord>());
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<KeyRecord>() == 4 + 4 + size_of::<Vec<u8>>() + 5 * 8);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<VersionRecord>() == 4 + 8 + 4 + 12 * 8 + size_of::<Vec<u8>>());

impl Keyset {
    /// Returns a keyset without versions.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes.
    pub fn new(name: &str) -> Result<Self, LifecycleError> {
        Keyset::restore(name, 0, Vec::new())
    }

    /// Returns a keyset of stored records. `highest_version` is the highest version number ever used;
    /// its record may be lost.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes,
    /// [`LifecycleError::VersionNumber`] if the versions are not strictly increasing, exceed
    /// `highest_version`, or have two primaries.
    pub fn restore(
        name: &str,
        highest_version: u32,
        versions: Vec<VersionRecord>,
    ) -> Result<Self, LifecycleError> {
        let key = KeyRecord { highest_version, ..KeyRecord::default() };
        Keyset::of_records(name, key, versions)
    }

    /// [`restore`](Self::restore) from a complete key record.
    pub(crate) fn of_records(
        name: &str,
        key: KeyRecord,
        versions: Vec<VersionRecord>,
    ) -> Result<Self, LifecycleError> {
        check_name(name)?;
        let mut keyset = Keyset { name: name.into(), key, versions };
        keyset.versions.iter_mut().for_each(VersionRecord::normalize);
        let mut last = 0;
        let mut primary = false;
        for record in &keyset.versions {
            let number = record.version.number();
            let second = primary && record.state == VersionState::Primary;
            if number <= last || number > keyset.key.highest_version || second {
                return Err(keyset.number_error(record.version));
            }
            last = number;
            primary |= record.state == VersionState::Primary;
        }
        Ok(keyset)
    }

    /// Returns the name of the master key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName::checked(&self.name)
    }

    /// Returns the primary, if there is one.
    pub fn primary(&self) -> Option<KeyVersion> {
        self.primary_record().map(|record| record.version)
    }

    /// Returns the record of the primary.
    pub fn primary_record(&self) -> Option<&VersionRecord> {
        // From the end, since the newest version is usually the primary.
        self.versions.iter().rev().find(|record| record.state == VersionState::Primary)
    }

    /// Returns the record of every version in ascending order, destroyed versions included.
    pub fn versions(&self) -> &[VersionRecord] {
        &self.versions
    }

    /// Returns the record of a version.
    pub fn version(&self, version: KeyVersion) -> Option<&VersionRecord> {
        let found = self.versions.binary_search_by_key(&version, |record| record.version);
        self.versions.get(found.ok()?)
    }

    pub(crate) fn version_mut(&mut self, version: KeyVersion) -> Option<&mut VersionRecord> {
        let found = self.versions.binary_search_by_key(&version, |record| record.version);
        self.versions.get_mut(found.ok()?)
    }

    /// Returns the record of a version, or the error for one without a record.
    fn record_mut(&mut self, version: KeyVersion) -> Result<&mut VersionRecord, LifecycleError> {
        let missing = self.no_record(version);
        self.version_mut(version).ok_or(missing)
    }

    pub(crate) fn versions_mut(&mut self) -> impl Iterator<Item = &mut VersionRecord> {
        self.versions.iter_mut()
    }

    /// Returns the highest version number ever used, or zero.
    pub fn highest_version(&self) -> u32 {
        self.key.highest_version
    }

    /// Returns the hold on the key.
    pub fn hold(&self) -> Option<&Hold> {
        self.key.hold.as_ref()
    }

    /// Returns whether a destruction requires evidence.
    pub fn evidence_required(&self) -> bool {
        self.key.evidence == EvidenceRule::Required
    }

    /// Returns when and why evidence was last waived. A later requirement keeps it.
    pub fn evidence_waived(&self) -> Option<&Hold> {
        self.key.evidence_waived.as_ref()
    }

    /// Returns the number of the last change of the key itself, without its versions, or 0 if unknown, as
    /// in a key file that was not changed since format version 1.
    pub fn changed(&self) -> u64 {
        self.key.changed
    }

    /// Sets the change number of each record that differs from `before`.
    fn set_changed(&mut self, before: Option<&Keyset>, change: u64) {
        if before.is_none_or(|before| !before.is_same_key(self)) {
            self.key.changed = change;
        }
        for record in &mut self.versions {
            if before.and_then(|before| before.version(record.version)) != Some(record) {
                record.changed = change;
            }
        }
    }

    /// Returns whether the key records are equal, versions and change numbers aside.
    pub(crate) fn is_same_key(&self, other: &Keyset) -> bool {
        let changed = self.key.changed;
        self.name == other.name && self.key == KeyRecord { changed, ..other.key.clone() }
    }

    /// Returns the number of the next version, above every number ever used.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionNumber`] after 2^32 - 1, [`LifecycleError::Key`] if the key was erased.
    pub fn next_version(&self) -> Result<KeyVersion, LifecycleError> {
        self.check_not_erased()?;
        match KeyVersion::new(self.key.highest_version) {
            None => Ok(KeyVersion::FIRST),
            Some(last) => last.next().ok_or_else(|| self.number_error(last)),
        }
    }

    /// Adds a pending version.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionNumber`] if the number is not above every number ever used,
    /// [`LifecycleError::Key`] if the key was erased.
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

    /// Fails for a number that is not above every number ever used.
    fn check_free(&self, version: KeyVersion) -> Result<(), LifecycleError> {
        self.check_not_erased()?;
        match KeyVersion::new(self.key.highest_version).filter(|last| *last >= version) {
            Some(last) => Err(self.number_error(last)),
            None => Ok(()),
        }
    }

    /// Applies `operation` to `version` at the time of `options`.
    ///
    /// A promotion enables the former primary. After a destruction the caller wipes the key material. If
    /// the clock is less than a day behind the newest date on record, that date is used.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`], [`LifecycleError::VersionState`] by [`VersionState::after`],
    /// [`LifecycleError::DestructionDelay`] if the time is not 7 to 30 days,
    /// [`LifecycleError::DestructionNotDue`] before the date, [`LifecycleError::Guarded`] by a [`Guard`].
    /// Nothing has changed then.
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
            record.record_operation(operation, options, now);
        }
        Ok(())
    }

    /// Returns the state of `version` after `operation`.
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
            // A compromised version is never promoted in any state.
            Operation::Promote if record.compromised.is_some() => return Err(refused()),
            // The first date of compromise is kept.
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
                // A stored record without its date.
                None => return Err(refused()),
            },
            _ => after,
        };
        self.check_guards(version, record.hold.as_ref(), operation, options)?;
        Ok(after)
    }

    fn number_error(&self, last: KeyVersion) -> LifecycleError {
        LifecycleError::VersionNumber { key: self.name.clone(), last }
    }
}

fn check_name(name: &str) -> Result<(), LifecycleError> {
    KeyName::new(name)?;
    if name.len() > MAX_KEYSET_NAME_LEN {
        return Err(InvalidKeyName { offset: MAX_KEYSET_NAME_LEN }.into());
    }
    Ok(())
}
