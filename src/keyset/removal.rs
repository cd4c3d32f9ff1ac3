//! Removal of the records of destroyed versions, and erasure of keys.

use super::{
    ChangeOptions, KeyFault, Keyset, LifecycleError, Operation, VersionRecord, VersionState,
};
use crate::format::{KeyVersion, MasterKeyId};
use crate::time::Timestamp;

/// Maximum number of master key ids of removed records of a key: half of a line of a key file.
pub(crate) const MAX_REMOVED_IDS: usize = 2048;

impl Keyset {
    /// Returns the version number below which all records were removed after their destruction.
    pub fn floor(&self) -> u32 {
        self.key.floor
    }

    /// Returns the master key ids of removed records, lowest version first, and of more than 2,048 the
    /// last ones. Their material cannot be imported again.
    pub fn removed(&self) -> &[MasterKeyId] {
        &self.key.removed
    }

    /// Returns when the key was erased. All versions of an erased key are destroyed, and none can be
    /// added.
    pub fn erased(&self) -> Option<Timestamp> {
        self.key.erased
    }

    /// Returns whether a version without a record was destroyed, or `None` if it may be a future
    /// version.
    // FORMAT F-ERASED, F-FLOOR
    pub(crate) fn was_destroyed(&self, version: KeyVersion, id: MasterKeyId) -> Option<bool> {
        let removed = self.removed();
        if version.number() < self.key.floor {
            // In an incomplete list any id may be that of a destroyed version.
            let is_complete = !removed.is_empty() && removed.len() < MAX_REMOVED_IDS;
            return Some(!is_complete || removed.contains(&id));
        }
        self.key.erased.map(|_| true)
    }

    /// Removes the records of all versions up to `through`, which must be destroyed. Their master key
    /// ids are kept, and their numbers are not reused.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`] if `through` was never used or no version up to it has a
    /// record, [`KeyFault::RecordNeeded`] if one of them is not destroyed,
    /// [`LifecycleError::VersionNumber`] if the last of them is 2^32 - 1.
    pub fn remove_records(&mut self, through: KeyVersion) -> Result<(), LifecycleError> {
        let key = || self.name.clone();
        if through.number() > self.key.highest_version {
            return Err(LifecycleError::UnknownVersion { key: key(), version: through });
        }
        if through.number() < self.key.floor {
            return Ok(());
        }
        let mut last = None;
        for old in self.versions.iter().take_while(|record| record.version <= through) {
            let (version, state) = (old.version, old.state);
            if state != VersionState::Destroyed {
                let fault = KeyFault::RecordNeeded { version, state };
                return Err(LifecycleError::Key { key: key(), fault });
            }
            last = Some(version);
        }
        // The floor stays at the last destroyed version: higher numbers are unknown.
        let last =
            last.ok_or_else(|| LifecycleError::UnknownVersion { key: key(), version: through })?;
        let floor = last.next().ok_or_else(|| self.number_error(last))?.number();
        let removed = &mut self.key.removed;
        let old = self.versions.extract_if(.., |record| record.version <= through);
        removed.extend(old.map(|record| record.master_key_id));
        // Saturates: zero, so that nothing is dropped from a shorter list.
        removed.drain(..removed.len().saturating_sub(MAX_REMOVED_IDS));
        self.key.floor = floor;
        Ok(())
    }

    /// Destroys all versions in any state. No version can be added later. The caller wipes the key
    /// material.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if the key was erased before, [`LifecycleError::Guarded`] if a guard
    /// refuses [`Operation::DestroyImmediately`] for a version. Nothing has changed then.
    pub fn erase(&mut self, options: &ChangeOptions) -> Result<(), LifecycleError> {
        self.check_not_erased()?;
        let operation = Operation::DestroyImmediately;
        let is_live = |record: &VersionRecord| record.state != VersionState::Destroyed;
        for record in self.versions.iter().filter(|record| is_live(record)) {
            self.check_guards(record.version, record.hold.as_ref(), operation, options)?;
        }
        // A guard of the key applies also if no version is left to destroy (FORMAT F-HOLD). A key
        // without versions reports the first.
        let newest = KeyVersion::new(self.key.highest_version).unwrap_or(KeyVersion::FIRST);
        self.check_guards(newest, None, operation, options)?;
        let now = self.date(options.now());
        for record in self.versions.iter_mut().filter(|record| is_live(record)) {
            record.enter(VersionState::Destroyed, now);
            record.record_operation(operation, options, now);
        }
        self.key.erased = Some(now);
        Ok(())
    }

    /// Fails for an erased key.
    pub(super) fn check_not_erased(&self) -> Result<(), LifecycleError> {
        match self.key.erased {
            None => Ok(()),
            Some(_) => Err(LifecycleError::Key { key: self.name.clone(), fault: KeyFault::Erased }),
        }
    }

    /// Returns the error for a version without a record.
    pub(super) fn no_record(&self, version: KeyVersion) -> LifecycleError {
        let key = self.name.clone();
        if version.number() < self.key.floor {
            return LifecycleError::RecordRemoved { key, version };
        }
        LifecycleError::UnknownVersion { key, version }
    }

    /// Returns the ids of all material on record, destroyed or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = MasterKeyId> {
        let versions = self.versions.iter().map(|record| record.master_key_id);
        self.key.removed.iter().copied().chain(versions)
    }
}
