//! One decoded state of a key file, and the states that changes make of it.

use super::error::KeyFileError;
use super::format::{FileKey, KeyFile, KeyFileFault, MAX_FILE_LEN, ProtectionId, Salvaged};
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use crate::keyring::key_table::{MasterKeys, NewKeys, WrappingKeys};
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::random::KeyringRng;
use crate::time::Timestamp;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::path::Path;
use std::sync::OnceLock;

/// One change of the protections of a file.
pub(super) enum ProtectionChange<'a> {
    Add(&'a Protection),
    Rewrap(ProtectionId, &'a Protection),
    Remove(ProtectionId),
}

/// A decoded state of a key file, which never changes.
pub(super) struct Snapshot {
    /// The keys, ready for use.
    pub(super) keys: MasterKeys,
    file: KeyFile,
    key: Arc<FileKey>,
    /// Its length in bytes; 0 until it is encoded.
    len: usize,
    /// Computed on first use.
    protections: OnceLock<Vec<ProtectionRecord>>,
}

impl Snapshot {
    fn new(keys: MasterKeys, file: KeyFile, key: Arc<FileKey>, len: usize) -> Self {
        Snapshot { keys, file, key, len, protections: OnceLock::new() }
    }

    /// The first snapshot of a new file.
    pub(super) fn create(
        keys: MasterKeys,
        new: &NewKeys,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Self, KeyFileFault> {
        let (mut file, key) = KeyFile::create(protection, rng)?;
        file.update(keys.keysets.clone(), &new.stored, &key, rng)?;
        Ok(Snapshot::new(keys, file, Arc::new(key), 0))
    }

    /// Opens a file. External key material belongs to `source`.
    pub(super) fn open(
        bytes: &[u8],
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, KeyFileFault> {
        let (file, key) = KeyFile::open(bytes, protection)?;
        Snapshot::of(file, Arc::new(key), bytes.len(), &WrappingKeys::new(), source)
    }

    /// Decodes a later state of the same file, and reuses the keys that are ready.
    pub(super) fn decode_successor(&self, bytes: &[u8]) -> Result<Self, KeyFileFault> {
        let file = KeyFile::reload(bytes, &self.key)?;
        Snapshot::of(file, self.key.clone(), bytes.len(), self.keys.all(), self.keys.source())
    }

    /// Prepares the keys of `file` that are not in `earlier`.
    fn of(
        file: KeyFile,
        key: Arc<FileKey>,
        len: usize,
        earlier: &WrappingKeys,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, KeyFileFault> {
        let mut keys = file.sealed_keys(&key, earlier)?;
        keys.extend(file.token_keys(earlier, |name, record| source.attach(name, record))?);
        let keys = MasterKeys::restore(file.keysets().clone(), keys, source.clone());
        Ok(Snapshot::new(keys, file, key, len))
    }

    /// This file with changed keysets and their new material.
    pub(super) fn with_keys(
        &self,
        keys: MasterKeys,
        new: &NewKeys,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Self, KeyFileFault> {
        let mut file = self.file.clone();
        file.update(keys.keysets.clone(), &new.stored, &self.key, rng)?;
        Ok(Snapshot::new(keys, file, self.key.clone(), 0))
    }

    /// This file with a changed protection, one change later.
    pub(super) fn with_protection(
        &self,
        change: &ProtectionChange<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(Self, ProtectionId), KeyFileFault> {
        let mut file = self.file.clone();
        let id = match *change {
            ProtectionChange::Add(protection) => file.add_protection(&self.key, protection, rng)?,
            ProtectionChange::Rewrap(id, protection) => {
                file.rewrap_protection(&self.key, id, protection, rng)?;
                id
            }
            ProtectionChange::Remove(id) => {
                file.remove_protection(id)?;
                id
            }
        };
        let next = self.one_change_later(file, self.key.clone(), rng)?;
        Ok((next, id))
    }

    /// This file under a fresh file key with `protections`, one change later.
    pub(super) fn with_file_key_replaced(
        &self,
        protections: &[&Protection],
        rng: &mut KeyringRng<'_>,
    ) -> Result<Self, KeyFileFault> {
        let (file, key) = self.file.replace_file_key(&self.key, protections, rng)?;
        self.one_change_later(file, Arc::new(key), rng)
    }

    fn one_change_later(
        &self,
        mut file: KeyFile,
        key: Arc<FileKey>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Self, KeyFileFault> {
        let mut keys = self.keys.clone();
        keys.keysets.count_change().ok_or(KeyFileFault::ChangeNumber)?;
        file.update(keys.keysets.clone(), &[], &key, rng)?;
        Ok(Snapshot::new(keys, file, key, 0))
    }

    /// The first snapshot of a file that continues a damaged one, under a fresh file key.
    pub(super) fn salvaged(
        salvaged: &Salvaged,
        revision: u64,
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Self, KeyFileFault> {
        let (mut file, key) = salvaged.file.replace_file_key(&salvaged.key, &[protection], rng)?;
        file.set_revision(revision);
        Snapshot::of(file, Arc::new(key), 0, &WrappingKeys::new(), source)
    }

    /// The protections of the file key.
    pub(super) fn protections(&self) -> &[ProtectionRecord] {
        self.protections.get_or_init(|| self.file.protections())
    }

    /// The length of the file in bytes, with room for its counters to grow.
    pub(super) fn size(&self) -> usize {
        self.file.size(self.len)
    }

    /// The size in per cent of the largest file.
    pub(super) fn filled(&self) -> u8 {
        let percent = self.size().min(MAX_FILE_LEN) / (MAX_FILE_LEN / 100);
        u8::try_from(percent).unwrap_or(100).min(100)
    }

    /// A critical name that this library does not know, and so must not write.
    pub(super) fn unknown_critical(&self) -> Option<&str> {
        self.file.unknown_critical()
    }

    /// The bytes of the file, which are read back before they are returned. `unproven` sealed material
    /// is opened again; `None` means that of every version.
    pub(super) fn encode(&mut self, unproven: Option<&NewKeys>) -> Result<Vec<u8>, KeyFileFault> {
        let bytes = self.file.encode(&self.key, Timestamp::now())?;
        self.len = bytes.len();
        let read_back = KeyFile::reload(&bytes, &self.key)?;
        let mut proven = self.keys.all().clone();
        match unproven {
            Some(new) => proven.retain(|id, _| !new.stored.iter().any(|(new, _)| new == id)),
            None => proven.clear(),
        }
        read_back.sealed_keys(&self.key, &proven)?;
        let same_keys = read_back.keysets() == self.file.keysets();
        if same_keys && read_back.protections() == self.file.protections() {
            return Ok(bytes);
        }
        Err(KeyFileFault::ReadBack)
    }
}

/// Adds the path to a fault.
pub(super) fn at(path: &Path) -> impl Fn(KeyFileFault) -> KeyFileError + '_ {
    |fault| KeyFileError::Content { path: path.to_path_buf(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;
    use crate::format::KeyVersion;
    use crate::keyring::software::SoftwareSource;
    use crate::keyset::{Change, ChangeOptions, Material};

    #[test]
    fn unreadable_file_is_not_written() {
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        let changes =
            [Change::CreateKey { key: "a", version, material }, Change::Rotate { key: "a" }];
        let options = ChangeOptions::at(Timestamp::now());
        let made = MasterKeys::new(Arc::new(SoftwareSource)).with_changes(
            &changes,
            &options,
            &mut OsRandom,
        );
        let (keys, _, mut new) = made.unwrap();
        let none = Protection::unprotected_plaintext();
        let mut state = Snapshot::create(keys.clone(), &new, &none, &mut OsRandom).unwrap();
        state.encode(None).unwrap();
        state.encode(Some(&new)).unwrap();

        // The material of one version under the id of the other.
        let [first, second] = new.stored.as_mut_slice() else { panic!("two versions") };
        core::mem::swap(&mut first.0, &mut second.0);
        let mut state = Snapshot::create(keys, &new, &none, &mut OsRandom).unwrap();
        for unproven in [None, Some(&new)] {
            let fault = state.encode(unproven).unwrap_err();
            assert!(
                matches!(fault, KeyFileFault::Material { version, .. } if version.number() == 1)
            );
        }
    }
}
