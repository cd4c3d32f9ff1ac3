//! What is gone for good: records of destroyed versions that were removed, and erased keys.

use super::keyset_map::Work;
use super::{
    ChangeOptions, KeyFault, Keyset, LifecycleError, Operation, Transition, VersionRecord,
    VersionState,
};
use crate::format::{KeyVersion, MasterKeyId};
use crate::time::Timestamp;
use alloc::vec::Vec;

/// Most master key ids of removed records that a key keeps: half of a line of a key file.
pub(crate) const MAX_REMOVED_IDS: usize = 2048;

impl Keyset {
    /// The records of all versions below this number were removed, after their destruction.
    pub fn floor(&self) -> u32 {
        self.key.floor
    }

    /// The master key ids of the records that were removed, lowest version first; of more than
    /// 2,048 the last ones. Their material is not taken again.
    pub fn removed(&self) -> &[MasterKeyId] {
        &self.key.removed
    }

    /// When the key was erased, if it was: all its versions are destroyed, and it takes no other.
    pub fn erased(&self) -> Option<Timestamp> {
        self.key.erased
    }

    /// Whether a slot without a record of its version is under one that was destroyed; `None` if
    /// the version can be one to come.
    // FORMAT F-ERASED, F-FLOOR
    pub(crate) fn has_gone(&self, version: KeyVersion, id: MasterKeyId) -> Option<bool> {
        let removed = self.removed();
        if version.number() < self.key.floor {
            // Where the ids are not all known, each that is not can be one of them.
            let is_whole = !removed.is_empty() && removed.len() < MAX_REMOVED_IDS;
            return Some(!is_whole || removed.contains(&id));
        }
        self.key.erased.map(|_| true)
    }

    /// Removes the records of all versions up to `through`, which are destroyed. The master key
    /// ids stay, and the numbers stay taken.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`] if `through` was never taken, or no version up to it has a record;
    /// [`KeyFault::RecordNeeded`] if one of them is not destroyed; [`LifecycleError::VersionNumber`] if it is
    /// 2^32 - 1.
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
        // No higher than what was destroyed: nothing is known of a number behind it.
        let last =
            last.ok_or_else(|| LifecycleError::UnknownVersion { key: key(), version: through })?;
        let floor = last.next().ok_or_else(|| self.spent(last))?.number();
        let removed = &mut self.key.removed;
        removed.extend(
            self.versions
                .extract_if(.., |record| record.version <= through)
                .map(|it| it.master_key_id),
        );
        // Saturates: none goes where there are no more than that.
        removed.drain(..removed.len().saturating_sub(MAX_REMOVED_IDS));
        self.key.floor = floor;
        Ok(())
    }

    /// Destroys all versions at the time of `options`, whatever their states, and takes no other version
    /// ever again. The caller wipes the key material.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if it is erased already; [`LifecycleError::Guarded`] of the first version that
    /// [`Operation::DestroyImmediately`] is kept from. Nothing has changed then.
    pub fn erase(&mut self, options: &ChangeOptions) -> Result<(), LifecycleError> {
        self.check_not_erased()?;
        let operation = Operation::DestroyImmediately;
        let is_live = |record: &VersionRecord| record.state != VersionState::Destroyed;
        for record in self.versions.iter().filter(|record| is_live(record)) {
            self.check_guards(record, operation, options)?;
        }
        // Where no version is left to be destroyed, the key is held all the same (FORMAT F-HOLD).
        let newest = KeyVersion::new(self.key.highest_version).unwrap_or(KeyVersion::FIRST);
        self.check_guards_of(newest, None, operation, options)?;
        let now = self.date(options.now());
        for record in self.versions.iter_mut().filter(|record| is_live(record)) {
            record.enter(VersionState::Destroyed, now);
            record.note(operation, options, now);
        }
        self.key.erased = Some(now);
        Ok(())
    }

    /// Refuses what an erased key does not take.
    pub(super) fn check_not_erased(&self) -> Result<(), LifecycleError> {
        match self.key.erased {
            None => Ok(()),
            Some(_) => Err(LifecycleError::Key { key: self.name.clone(), fault: KeyFault::Erased }),
        }
    }

    /// Why there is no record of `version`.
    pub(super) fn no_record(&self, version: KeyVersion) -> LifecycleError {
        let key = self.name.clone();
        if version.number() < self.key.floor {
            return LifecycleError::RecordRemoved { key, version };
        }
        LifecycleError::UnknownVersion { key, version }
    }

    /// The ids of all material that is on record, destroyed or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = MasterKeyId> {
        let versions = self.versions.iter().map(|record| record.master_key_id);
        self.key.removed.iter().copied().chain(versions)
    }
}

impl Work {
    pub(super) fn remove_records(
        &mut self,
        key: &str,
        through: KeyVersion,
    ) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let before = keyset.floor();
        keyset.remove_records(through)?;
        let (key, floor) = (keyset.name.clone(), keyset.floor());
        if floor != before {
            self.transitions.push(Transition::RecordsRemoved { key, floor });
        }
        Ok(())
    }

    pub(super) fn erase(&mut self, key: &str) -> Result<(), LifecycleError> {
        let options = self.options;
        let keyset = self.keysets.resolve_mut(key)?;
        let before: Vec<_> = keyset.versions.iter().map(|it| (it.version, it.state)).collect();
        keyset.erase(&options)?;
        let (key, to) = (keyset.name.clone(), VersionState::Destroyed);
        let live = before.into_iter().filter(|(_, from)| *from != to);
        let states = live.map(|(version, from)| {
            let key = key.clone();
            Transition::State { key, version, from, to }
        });
        self.transitions.extend(states);
        self.transitions.push(Transition::Erased { key });
        Ok(())
    }
}
