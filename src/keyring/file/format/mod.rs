//! The key file's format (FORMAT.md): bytes in, bytes out.

mod decode;
mod encode;
mod fault;
mod json;
mod lines;
mod merge;
mod naming;
mod record;
mod salvage;
mod seal;
mod wrap;

pub use fault::{KeyFileFault, RecordFault, RecordName};
pub use salvage::{Damaged, Salvaged, salvage};
pub use seal::{FileId, FileKey};

use crate::crypto::secret::MasterKey;
use crate::format::{KeyName, MasterKeyId};
use crate::keyring::file::{Protection, ProtectionKind};
use crate::keyring::held::HeldKey;
use crate::keyring::master_keys::HeldKeys;
use crate::keyring::software::SoftwareKey;
use crate::keyset::{Keyset, Keysets, VersionRecord, VersionState};
use crate::random::{KeyringRng, RandomnessUnavailable};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use json::Extra;
use record::Header;
use seal::{MaterialLabel, Sealed};

/// What a key file holds; the key material is sealed.
///
/// What this version of the format does not know is kept, and written again byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    id: FileId,
    /// The protection object of the file key that the material is sealed under.
    protection: String,
    written: Timestamp,
    keysets: Keysets,
    sealed: BTreeMap<MasterKeyId, Sealed>,
    unknown: Unknown,
}

/// What this version does not know, and keeps.
#[derive(Clone, Default, PartialEq, Eq)]
struct Unknown {
    critical: Vec<String>,
    header: Extra,
    end: Extra,
    keys: BTreeMap<String, Extra>,
    versions: BTreeMap<MasterKeyId, Extra>,
    aliases: BTreeMap<String, Extra>,
    records: Vec<String>,
}

impl KeyFile {
    /// A new file without master keys, and its file key.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Argon2Cost`] if it is too weak or too costly; [`KeyFileFault::EmptySecret`];
    /// [`KeyFileFault::OuterKeyring`]; [`KeyFileFault::Randomness`].
    pub fn create(
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(Self, FileKey), KeyFileFault> {
        let mut id = FileId([0; 16]);
        rng.try_fill_bytes(&mut id.0).map_err(|_| RandomnessUnavailable)?;
        let key = FileKey::generate(id, protection, rng)?;
        let file = KeyFile {
            id,
            protection: key.protection.clone(),
            written: Timestamp::UNIX_EPOCH,
            keysets: Keysets::new(),
            sealed: BTreeMap::new(),
            unknown: Unknown::default(),
        };
        Ok((file, key))
    }

    /// Opens a file: its file key by `protection`, then all of it.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault`], with the line and the record.
    pub fn open(bytes: &[u8], protection: &Protection) -> Result<(Self, FileKey), KeyFileFault> {
        let (header, text) = decode::header(bytes)?;
        let opened = FileKey::open(header.id, &header.protection, protection);
        let key = opened.map_err(|fault| decode::or_damaged_header(fault, text, bytes))?;
        Ok((decode::decode(bytes, &key)?, key))
    }

    /// Reads a later state of a file that was opened before: no passphrase is stretched, no outer
    /// keyring asked.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::ProtectionChanged`] if it must be opened again; as [`open`](Self::open).
    pub fn reload(bytes: &[u8], key: &FileKey) -> Result<Self, KeyFileFault> {
        let (header, _) = decode::header(bytes)?;
        if header.id != key.id || header.protection != key.protection {
            return Err(KeyFileFault::ProtectionChanged);
        }
        decode::decode(bytes, key)
    }

    /// The bytes of the file, written at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::UnknownCritical`]; [`KeyFileFault::Material`] if a version has no material;
    /// [`KeyFileFault::ProtectionChanged`] if `key` is not that of the file as it is; [`KeyFileFault::TooLong`],
    /// or [`RecordFault::LineTooLong`]: what could not be read again is not written.
    pub fn encode(&self, key: &FileKey, now: Timestamp) -> Result<Vec<u8>, KeyFileFault> {
        encode::encode(self, key, now)
    }

    /// The same master keys under a fresh file key and another protection, or the same one anew.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); [`KeyFileFault::Material`].
    pub fn protect(
        &self,
        key: &FileKey,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(Self, FileKey), KeyFileFault> {
        let new = FileKey::generate(self.id, protection, rng)?;
        let mut file = KeyFile { protection: new.protection.clone(), ..self.clone() };
        for (keyset, record) in sealed_versions(&self.keysets) {
            let material = self.material(key, keyset, record)?.1;
            let sealed = new.seal(label(keyset, record), &material, rng)?;
            file.sealed.insert(record.master_key_id, sealed);
        }
        Ok((file, new))
    }

    /// Takes over changed keysets, and seals the material of the versions that came, unless it is on
    /// a token. That of destroyed ones goes.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Randomness`].
    pub fn update(
        &mut self,
        keysets: Keysets,
        new: &[(MasterKeyId, MasterKey)],
        key: &FileKey,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyFileFault> {
        let mut sealed = BTreeMap::new();
        for (keyset, record) in sealed_versions(&keysets) {
            let id = record.master_key_id;
            if let Some((_, material)) = new.iter().find(|(new_id, _)| *new_id == id) {
                sealed.insert(id, key.seal(label(keyset, record), material, rng)?);
            } else if let Some(bytes) = self.sealed.get(&id) {
                sealed.insert(id, *bytes);
            }
        }
        self.keysets = keysets;
        self.sealed = sealed;
        Ok(())
    }

    /// Sets the revision, where keysets go on in another file.
    pub(in crate::keyring) fn set_revision(&mut self, revision: u64) {
        self.keysets.set_revision(revision);
    }

    /// The master keys.
    pub fn keysets(&self) -> &Keysets {
        &self.keysets
    }

    /// The id of the file.
    #[cfg(any(test, feature = "test-util"))]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// When it was written.
    #[cfg(any(test, feature = "test-util"))]
    pub fn written(&self) -> Timestamp {
        self.written
    }

    /// What keeps this library from writing the file, if anything does.
    pub fn unknown_critical(&self) -> Option<&str> {
        Header::unknown_critical(&self.unknown.critical)
    }

    /// Checks that the sealed material of every version opens and is that of its id.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Material`].
    #[cfg(any(test, feature = "test-util"))]
    pub fn verify_material(&self, key: &FileKey) -> Result<usize, KeyFileFault> {
        self.sealed_keys(key, &HeldKeys::new()).map(|keys| keys.len())
    }

    /// Sets up the keys of all versions whose material is sealed in the file; those in `earlier`
    /// are taken from there.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Material`].
    pub(in crate::keyring) fn sealed_keys(
        &self,
        key: &FileKey,
        earlier: &HeldKeys,
    ) -> Result<HeldKeys, KeyFileFault> {
        let set_up = |(keyset, record): (&Keyset, &VersionRecord)| {
            let id = record.master_key_id;
            let software: Arc<dyn HeldKey> = match known(earlier, record) {
                Some(software) => software,
                None => Arc::new(self.material(key, keyset, record)?.0),
            };
            Ok((id, software))
        };
        sealed_versions(&self.keysets).map(set_up).collect()
    }

    /// Sets up the keys of all versions whose material is on a token, by `set_up`; those in
    /// `earlier` are taken from there.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::TokenVersion`].
    pub(in crate::keyring) fn token_keys(
        &self,
        earlier: &HeldKeys,
        set_up: impl Fn(KeyName<'_>, &VersionRecord) -> Option<Arc<dyn HeldKey>>,
    ) -> Result<HeldKeys, KeyFileFault> {
        let set_up = |(keyset, record): (&Keyset, &VersionRecord)| {
            let (name, version) = (keyset.name(), record.version);
            let held = known(earlier, record).or_else(|| set_up(name, record));
            let absent = || KeyFileFault::TokenVersion { key: name.as_str().into(), version };
            Ok((record.master_key_id, held.ok_or_else(absent)?))
        };
        token_versions(&self.keysets).map(set_up).collect()
    }

    /// Opens the material of a version, and checks that it is that of its id (SPEC K-MASTER).
    fn material(
        &self,
        key: &FileKey,
        keyset: &Keyset,
        record: &VersionRecord,
    ) -> Result<(SoftwareKey, MasterKey), KeyFileFault> {
        let open = || {
            let sealed = self.sealed.get(&record.master_key_id)?;
            let material = key.unseal(label(keyset, record), sealed)?;
            let software = SoftwareKey::new(&material)?;
            // FORMAT F-ID
            (software.id() == record.master_key_id).then_some((software, material))
        };
        open().ok_or_else(|| material_fault(keyset, record))
    }
}

/// The key that is set up already for a version.
fn known(earlier: &HeldKeys, record: &VersionRecord) -> Option<Arc<dyn HeldKey>> {
    let known = earlier.get(&record.master_key_id)?;
    (known.algorithm() == record.algorithm).then(|| known.clone())
}

/// The versions whose key material is in the file.
fn sealed_versions(keysets: &Keysets) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    versions(keysets).filter(|(_, record)| record::has_sealed(record))
}

/// The versions whose key material is on a token.
fn token_versions(keysets: &Keysets) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    let kept = |record: &VersionRecord| record.state != VersionState::Destroyed;
    versions(keysets).filter(move |(_, record)| kept(record) && !record::has_sealed(record))
}

fn versions(keysets: &Keysets) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    keysets.iter().flat_map(|keyset| keyset.versions().iter().map(move |record| (keyset, record)))
}

/// The kind of protection that a file says it has, unverified.
///
/// # Errors
///
/// As [`KeyFile::open`], of the header alone.
pub fn protection_kind(bytes: &[u8]) -> Result<ProtectionKind, KeyFileFault> {
    let (header, text) = decode::header(bytes)?;
    let kind = json::Fields::parse(&header.protection).and_then(|mut it| wrap::kind(&mut it));
    kind.map_err(|what| lines::fault(1, text.as_bytes(), what))
}

fn label<'a>(keyset: &'a Keyset, record: &VersionRecord) -> MaterialLabel<'a> {
    MaterialLabel { name: keyset.name(), version: record.version, id: record.master_key_id }
}

fn material_fault(keyset: &Keyset, record: &VersionRecord) -> KeyFileFault {
    KeyFileFault::Material { key: keyset.name().as_str().into(), version: record.version }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("id", &self.id).field("keysets", &self.keysets).finish()
    }
}
