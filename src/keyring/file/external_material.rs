//! Key material that is not in the file: what becomes of it by a change of the file.

use super::error::KeyFileError;
use crate::error::{Error, KeyFault};
use crate::format::{MasterKeyId, WrapAlgorithm};
use crate::keyring::master_keys::{MasterKeys, NewKeys};
use crate::keyset::{Changed, Keyset, Keysets, VersionRecord, VersionState};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl MasterKeys {
    /// Has the source forget what was made for a change that was not written because of `error`,
    /// unless it may have been written all the same.
    pub(super) fn discard_after(&self, new: &NewKeys, error: &KeyFileError) {
        if !matches!(error, KeyFileError::NotDurable { .. }) {
            self.discard(new);
        }
    }

    /// Has the source destroy the material of all versions that are destroyed on record, once
    /// `changed` is written.
    ///
    /// # Errors
    ///
    /// [`Error::NotDestroyed`].
    pub(super) fn destroy_external(&self, changed: Changed) -> Result<Changed, Error> {
        let is_due = |record: &&VersionRecord| {
            record.state == VersionState::Destroyed
                && record.algorithm != WrapAlgorithm::XAES_256_GCM
        };
        let records = self.keysets.iter().flat_map(|keyset| {
            keyset.versions().iter().filter(is_due).map(|record| (keyset.name(), record))
        });
        let mut records = records.peekable();
        if records.peek().is_none() {
            return Ok(changed);
        }
        match self.source().destroy(&mut records) {
            Ok(()) => Ok(changed),
            Err(error) => {
                let (changed, source) = (Box::new(changed), Box::new(error));
                Err(Error::NotDestroyed { changed, source })
            }
        }
    }

    /// Has the source destroy the material of the versions whose records `next` has no more, while
    /// there are records to find it by.
    ///
    /// # Errors
    ///
    /// [`KeyFault::RecordNeeded`] of a version that is only destroyed by the same change; what the
    /// source says.
    pub(super) fn destroy_before_removal(&self, next: &Keysets) -> Result<(), Error> {
        let is_removed = |keyset: &Keyset, record: &VersionRecord| {
            let left =
                next.keyset(keyset.name().as_str()).and_then(|it| it.version(record.version));
            record.algorithm != WrapAlgorithm::XAES_256_GCM && left.is_none()
        };
        let removed: Vec<_> = self
            .keysets
            .iter()
            .flat_map(|keyset| keyset.versions().iter().map(move |record| (keyset, record)))
            .filter(|(keyset, record)| is_removed(keyset, record))
            .collect();
        for (keyset, record) in &removed {
            let (version, state) = (record.version, record.state);
            if state != VersionState::Destroyed {
                let (key, fault) =
                    (keyset.name().as_str().into(), KeyFault::RecordNeeded { version, state });
                return Err(Error::Key { key, fault });
            }
        }
        if removed.is_empty() {
            return Ok(());
        }
        self.source()
            .destroy(&mut removed.into_iter().map(|(keyset, record)| (keyset.name(), record)))
    }

    /// The version that has an id, with its keyset.
    pub(super) fn find(&self, id: MasterKeyId) -> Option<(&Keyset, &VersionRecord)> {
        let of_id = |record: &&VersionRecord| record.master_key_id == id;
        self.keysets.iter().find_map(|it| Some((it, it.versions().iter().find(of_id)?)))
    }
}
