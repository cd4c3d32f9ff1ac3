//! Key material that is not in the file: what becomes of it by a change of the file.

use super::error::KeyFileError;
use crate::error::Error;
use crate::format::{MasterKeyId, WrapAlgorithm};
use crate::keyring::master_keys::{MasterKeys, NewKeys};
use crate::keyset::{Changed, Keyset, VersionRecord, VersionState};
use alloc::boxed::Box;

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
    pub(super) fn destroy_elsewhere(&self, changed: Changed) -> Result<Changed, Error> {
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

    /// The version that has an id, with its keyset.
    pub(super) fn find(&self, id: MasterKeyId) -> Option<(&Keyset, &VersionRecord)> {
        let of_id = |record: &&VersionRecord| record.master_key_id == id;
        self.keysets.iter().find_map(|it| Some((it, it.versions().iter().find(of_id)?)))
    }
}
