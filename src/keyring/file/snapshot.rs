//! One decoded state of a key file, the states that changes make of it, and those that may follow it.

use super::error::KeyFileError;
use super::format::{FileKey, KeyFile, KeyFileFault, MAX_FILE_LEN, ProtectionId, Salvaged};
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use crate::crypto::secret::MasterKey;
use crate::format::KeyVersion;
use crate::keyring::key_table::{MasterKeys, NewKeys, WrappingKeys};
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::keyset::{Keyset, KeysetMap, VersionRecord, VersionState};
use crate::random::KeyringRng;
use crate::time::Timestamp;
use alloc::string::{String, ToString as _};
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

    /// Decodes a later state of the same file, which continues this one, and reuses the keys that
    /// are ready.
    pub(super) fn decode_successor(&self, bytes: &[u8], path: &Path) -> Result<Self, KeyFileError> {
        let decode = || {
            let (key, len) = (self.key.clone(), bytes.len());
            let file = KeyFile::reload(bytes, &key)?;
            Snapshot::of(file, key, len, self.keys.all(), self.keys.source())
        };
        let new = decode().map_err(at(path))?;
        check_successor(&self.keys.keysets, &new.keys.keysets, path)?;
        self.check_protections(&new, path)?;
        Ok(new)
    }

    /// Refuses different protections under the same change number.
    fn check_protections(&self, new: &Snapshot, path: &Path) -> Result<(), KeyFileError> {
        let is_same_change = self.keys.keysets.change() == new.keys.keysets.change();
        if !is_same_change || self.protections() == new.protections() {
            return Ok(());
        }
        let mut all = self.protections().iter();
        let other = all.find(|protection| !new.protections().contains(protection));
        let key = other.map_or_else(String::new, |protection| protection.id.to_string());
        Err(KeyFileError::Diverged { path: path.to_path_buf(), key, version: KeyVersion::FIRST })
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

    /// Opens the material of a version that is sealed in the file.
    pub(super) fn material(
        &self,
        keyset: &Keyset,
        record: &VersionRecord,
    ) -> Result<MasterKey, KeyFileFault> {
        Ok(self.file.material(&self.key, keyset, record)?.1)
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

/// Checks that changes can lead from `old` to `new`: no known change is undone, and no version that
/// may be in use is lost or has other material. Usage is ignored.
///
/// # Errors
///
/// [`KeyFileError::RolledBack`] if `new` has fewer changes; [`KeyFileError::Diverged`] if it lacks a
/// version, has other or destroyed material under its number, or if a record differs that has not
/// changed since the last known change.
fn check_successor(old: &KeysetMap, new: &KeysetMap, path: &Path) -> Result<(), KeyFileError> {
    let (known, found) = (old.change(), new.change());
    if found < known {
        let path = path.to_path_buf();
        return Err(KeyFileError::RolledBack { path, found, known });
    }
    match first_lost(old, new).or_else(|| first_other(old, new)) {
        Some((key, version)) => {
            Err(KeyFileError::Diverged { path: path.to_path_buf(), key: key.into(), version })
        }
        None => Ok(()),
    }
}

/// The first version of `old` that `new` cannot have.
fn first_lost<'k>(old: &'k KeysetMap, new: &KeysetMap) -> Option<(&'k str, KeyVersion)> {
    old.iter().find_map(|keyset| {
        let name = keyset.name().as_str();
        let new = new.keyset(name);
        Some((name, first_difference(keyset, new)?))
    })
}

fn first_difference(old: &Keyset, new: Option<&Keyset>) -> Option<KeyVersion> {
    let Some(new) = new else { return old.versions().first().map(|record| record.version) };
    if new.highest_version() < old.highest_version() {
        // This history does not know the highest numbers.
        return KeyVersion::new(old.highest_version());
    }
    // A removed record or an erased key does not return.
    let is_revived =
        new.floor() < old.floor() || old.erased().is_some() && old.erased() != new.erased();
    if new.changed() < old.changed() || is_revived {
        return Some(KeyVersion::FIRST);
    }
    let differs = |old: &&VersionRecord| {
        let Some(new) = new.version(old.version) else {
            return old.version.number() >= new.floor();
        };
        let was = old.changed;
        let revived = old.state == VersionState::Destroyed && new.state != VersionState::Destroyed;
        // These dates are written once, and only corrected to earlier ones.
        let is_forgotten = |old: Option<Timestamp>, date: Option<Timestamp>| match (old, date) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(date)) => date > old || date < old && new.changed <= was,
        };
        let forgotten = is_forgotten(old.compromised, new.compromised)
            || is_forgotten(old.promoted, new.promoted);
        let other = old.master_key_id != new.master_key_id || old.algorithm != new.algorithm;
        other || revived || forgotten || new.changed < old.changed
    };
    old.versions().iter().find(differs).map(|record| record.version)
}

/// The first record of `new` that differs from `old` and has not changed since the last change of
/// `old`: a copy of the file was changed.
fn first_other<'k>(old: &KeysetMap, new: &'k KeysetMap) -> Option<(&'k str, KeyVersion)> {
    let known = old.change();
    // A file of format version 1 does not record the change of each record.
    let is_same_change = new.change() == known;
    let must_be_known = |changed: u64| is_same_change || (1..=known).contains(&changed);
    for keyset in new.iter() {
        let name = keyset.name().as_str();
        let before = old.keyset(name);
        if must_be_known(keyset.changed()) && before.is_none_or(|it| !it.is_same_key(keyset)) {
            return Some((name, KeyVersion::FIRST));
        }
        for record in keyset.versions().iter().filter(|record| must_be_known(record.changed)) {
            let before = before.and_then(|before| before.version(record.version));
            if !before.is_some_and(|before| is_same(before, record)) {
                return Some((name, record.version));
            }
        }
    }
    let mut others = new.alias_records().iter().filter(|alias| {
        let before = old.alias(&alias.name);
        let is_other = before.is_none_or(|before| !before.is_same(alias));
        alias.changed < old.alias_changed(&alias.name) || must_be_known(alias.changed) && is_other
    });
    if let Some(alias) = others.next() {
        return Some((&alias.name, KeyVersion::FIRST));
    }
    let is_short = is_same_change
        && (old.iter().len(), old.aliases().len()) != (new.iter().len(), new.aliases().len());
    is_short
        .then(|| (new.iter().next().map_or("", |keyset| keyset.name().as_str()), KeyVersion::FIRST))
}

/// Whether two records of a version differ in usage alone.
fn is_same(one: &VersionRecord, other: &VersionRecord) -> bool {
    let usage = one.usage;
    one == other || *one == VersionRecord { usage, ..other.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;
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
