//! One state of a key file, decoded: what is read from it and what is written next.

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

/// A state of a key file. Shared by reference, and never changed.
pub(super) struct Snapshot {
    /// The keys, set up.
    pub(super) keys: MasterKeys,
    file: KeyFile,
    key: Arc<FileKey>,
    /// Its length in bytes, once it is encoded.
    len: usize,
    /// What keeps the file key, once it was asked for.
    protections: OnceLock<Vec<ProtectionRecord>>,
}

impl Snapshot {
    fn new(keys: MasterKeys, file: KeyFile, key: Arc<FileKey>, len: usize) -> Self {
        Snapshot { keys, file, key, len, protections: OnceLock::new() }
    }

    /// The first state of a new file.
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

    /// The state that a file holds; keys whose material is not in it are those of `source`.
    pub(super) fn open(
        bytes: &[u8],
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, KeyFileFault> {
        let (file, key) = KeyFile::open(bytes, protection)?;
        Snapshot::of(file, Arc::new(key), bytes.len(), &WrappingKeys::new(), source)
    }

    /// A later state of the same file. Keys that are set up already are taken over.
    pub(super) fn decode_successor(&self, bytes: &[u8]) -> Result<Self, KeyFileFault> {
        let file = KeyFile::reload(bytes, &self.key)?;
        Snapshot::of(file, self.key.clone(), bytes.len(), self.keys.all(), self.keys.source())
    }

    /// Sets up the keys of `file`, so far as they are not set up already.
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

    /// This file with other keysets, and the material that came with them.
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

    /// This file with other protections of the same file key, one change later.
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

    /// This file under a fresh file key that `protections` keep, one change later.
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

    /// The first state of a file that goes on from a damaged one, under a fresh file key.
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

    /// What keeps the file key.
    pub(super) fn protections(&self) -> &[ProtectionRecord] {
        self.protections.get_or_init(|| self.file.protections())
    }

    /// The length of the file in bytes, with the room that its counters can still take.
    pub(super) fn size(&self) -> usize {
        self.file.size(self.len)
    }

    /// How much of the longest file that is, in per cent.
    pub(super) fn filled(&self) -> u8 {
        let percent = self.size().min(MAX_FILE_LEN) / (MAX_FILE_LEN / 100);
        u8::try_from(percent).unwrap_or(100).min(100)
    }

    /// What a writer of the file must know and this library does not.
    pub(super) fn unknown_critical(&self) -> Option<&str> {
        self.file.unknown_critical()
    }

    /// The bytes of the file, read back before they are given out: sealed material that is
    /// `unproven` is opened anew, and `None` stands for that of every version.
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

/// Names the file that a fault is in.
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

    /// Whatever went wrong on the way, a file whose keys do not open is not given out.
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
