//! The key file's format (FORMAT.md): bytes in, bytes out.

mod decode;
mod encode;
mod fault;
mod file_key;
mod file_key_wrap;
mod framing;
mod json;
mod looks_like;
mod protection_slots;
mod record;
mod salvage;
mod version;

pub use fault::{KeyFileFault, ProtectionsFault, RecordFault, RecordName};
pub use file_key::{FileKey, KeyFileId};
pub(in crate::keyring::file) use framing::MAX_FILE_LEN;
pub use looks_like::{KeyFileLooksLike, TextConversion};
pub use protection_slots::{ProtectionId, protections};
pub use salvage::{Damaged, Salvaged, salvage};

use crate::crypto::compare;
use crate::crypto::mac::MAC_LEN;
use crate::crypto::secret::MasterKey;
use crate::format::{KeyName, MasterKeyId};
use crate::keyring::file::Protection;
use crate::keyring::key_table::WrappingKeys;
use crate::keyring::software::SoftwareKey;
use crate::keyring::wrapping_key::WrappingKey;
use crate::keyset::{Keyset, KeysetMap, VersionRecord, VersionState};
use crate::random::{KeyringRng, RandomnessUnavailable};
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use file_key::{MaterialLabel, SealedKey};
use json::Extra;
use protection_slots::ProtectionSlot;
use record::{FileHeader, FormatVersion};
use version::VersionExtra;

/// The content of a key file, with sealed key material.
///
/// Unknown fields and records are preserved byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    version: FormatVersion,
    id: KeyFileId,
    /// Identifies the file key that seals the material.
    file_key: [u8; MAC_LEN],
    protections: Vec<ProtectionSlot>,
    written: Timestamp,
    keysets: KeysetMap,
    sealed: BTreeMap<MasterKeyId, SealedKey>,
    unknown: Unknown,
}

/// Unknown fields and records.
#[derive(Clone, Default, PartialEq, Eq)]
struct Unknown {
    critical: Vec<String>,
    header: Extra,
    end: Extra,
    keys: BTreeMap<String, Extra>,
    versions: BTreeMap<MasterKeyId, VersionExtra>,
    aliases: BTreeMap<String, Extra>,
    records: Vec<String>,
}

impl Unknown {
    /// Removes the fields that version 1 did not know and version 2 has.
    // FORMAT F-RAISE
    fn raise_version(&mut self) {
        record::keep_unknown("header", &mut self.header);
        record::keep_unknown("end", &mut self.end);
        self.keys.values_mut().for_each(|extra| record::keep_unknown("key", extra));
        self.versions.values_mut().for_each(|it| record::keep_unknown("version", &mut it.fields));
        self.aliases.values_mut().for_each(|extra| record::keep_unknown("alias", extra));
    }
}

impl KeyFile {
    /// Returns a new file without master keys, and its file key.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Argon2Cost`] if it is too weak or too costly; [`KeyFileFault::EmptySecret`];
    /// [`KeyFileFault::OuterKeyring`]; [`KeyFileFault::Randomness`].
    pub fn create(
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(Self, FileKey), KeyFileFault> {
        let mut id = KeyFileId([0; 16]);
        rng.try_fill_bytes(&mut id.0).map_err(RandomnessUnavailable::of)?;
        let key = FileKey::generate(id, rng)?;
        let file = KeyFile {
            version: FormatVersion::Two,
            id,
            file_key: key.fingerprint(),
            protections: Vec::from([key.protect(None, protection, rng)?]),
            written: Timestamp::UNIX_EPOCH,
            keysets: KeysetMap::new(),
            sealed: BTreeMap::new(),
            unknown: Unknown::default(),
        };
        Ok((file, key))
    }

    /// Opens the file key by `protection`, and reads the file.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault`], with the line.
    pub fn open(bytes: &[u8], protection: &Protection) -> Result<(Self, FileKey), KeyFileFault> {
        let header = decode::header(bytes)?;
        let key = FileKey::open(header.id, &header.protections, protection)?;
        Ok((decode::decode(bytes, &key)?, key))
    }

    /// Reads a later state of an open file, without a passphrase or outer keyring.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::FileKeyReplaced`] if the file must be opened again; those of
    /// [`open`](Self::open).
    pub fn reload(bytes: &[u8], key: &FileKey) -> Result<Self, KeyFileFault> {
        let header = decode::header(bytes)?;
        if header.id != key.id || decode::is_under_another(bytes, key) {
            return Err(KeyFileFault::FileKeyReplaced);
        }
        decode::decode(bytes, key)
    }

    /// Returns the same master keys under a fresh file key with new `protections`.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create); [`KeyFileFault::Protections`]; [`KeyFileFault::Material`].
    pub fn replace_file_key(
        &self,
        key: &FileKey,
        protections: &[&Protection],
        rng: &mut KeyringRng<'_>,
    ) -> Result<(Self, FileKey), KeyFileFault> {
        let new = FileKey::generate(self.id, rng)?;
        let protect = |protection: &&Protection| new.protect(None, protection, &mut *rng);
        let protections: Vec<_> = protections.iter().map(protect).collect::<Result<_, _>>()?;
        let (version, file_key) = (FormatVersion::Two, new.fingerprint());
        let mut file = KeyFile { version, file_key, ..self.clone() };
        if self.version == FormatVersion::One {
            file.unknown.raise_version();
        }
        file.set_protections(protections)?;
        for (keyset, record) in sealed_versions(&self.keysets) {
            let material = self.material(key, keyset, record)?.1;
            let sealed = new.seal(label(keyset, record), &material, rng)?;
            file.sealed.insert(record.master_key_id, sealed);
        }
        Ok((file, new))
    }

    /// Installs changed keysets, seals the material of new versions unless it is on a token, and drops
    /// that of destroyed ones.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Randomness`].
    pub fn update(
        &mut self,
        keysets: KeysetMap,
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
        if keysets.change() != self.keysets.change() {
            self.raise_version()?;
        }
        if !self.unknown.versions.is_empty() {
            let on_record: BTreeSet<_> =
                versions(&keysets).map(|(_, record)| record.master_key_id).collect();
            self.unknown.versions.retain(|id, _| on_record.contains(id));
        }
        self.keysets = keysets;
        self.sealed = sealed;
        Ok(())
    }

    /// Whether the material is sealed under `key`.
    fn is_under(&self, key: &FileKey) -> bool {
        self.id == key.id && compare::equal(&self.file_key, &key.fingerprint())
    }

    /// Sets the revision, for keysets that continue in another file.
    pub(in crate::keyring) fn set_revision(&mut self, revision: u64) {
        self.keysets.set_revision(revision);
    }

    /// Returns the master keys.
    pub fn keysets(&self) -> &KeysetMap {
        &self.keysets
    }

    /// Returns the id of the file.
    #[cfg(any(test, feature = "test-util"))]
    pub fn id(&self) -> KeyFileId {
        self.id
    }

    /// When it was written.
    #[cfg(any(test, feature = "test-util"))]
    pub fn written(&self) -> Timestamp {
        self.written
    }

    /// Returns a critical name that this library does not know, and so must not write.
    pub fn unknown_critical(&self) -> Option<&str> {
        FileHeader::unknown_critical(&self.unknown.critical)
    }

    /// Checks that the sealed material of every version opens and belongs to its id.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Material`].
    #[cfg(any(test, feature = "test-util"))]
    pub fn verify_material(&self, key: &FileKey) -> Result<usize, KeyFileFault> {
        self.sealed_keys(key, &WrappingKeys::new()).map(|keys| keys.len())
    }

    /// Prepares the keys of all versions with material in the file; reuses those in `earlier`.
    pub(in crate::keyring) fn sealed_keys(
        &self,
        key: &FileKey,
        earlier: &WrappingKeys,
    ) -> Result<WrappingKeys, KeyFileFault> {
        let set_up = |(keyset, record): (&Keyset, &VersionRecord)| {
            let id = record.master_key_id;
            let software: Arc<dyn WrappingKey> = match known(earlier, record) {
                Some(software) => software,
                None => Arc::new(self.material(key, keyset, record)?.0),
            };
            Ok((id, software))
        };
        sealed_versions(&self.keysets).map(set_up).collect()
    }

    /// Prepares the keys of all versions with material on a token by `set_up`; reuses those in
    /// `earlier`.
    pub(in crate::keyring) fn token_keys(
        &self,
        earlier: &WrappingKeys,
        set_up: impl Fn(KeyName<'_>, &VersionRecord) -> Option<Arc<dyn WrappingKey>>,
    ) -> Result<WrappingKeys, KeyFileFault> {
        let set_up = |(keyset, record): (&Keyset, &VersionRecord)| {
            let (name, version) = (keyset.name(), record.version);
            let key = known(earlier, record).or_else(|| set_up(name, record));
            let absent = || KeyFileFault::TokenVersion { key: name.as_str().into(), version };
            Ok((record.master_key_id, key.ok_or_else(absent)?))
        };
        token_versions(&self.keysets).map(set_up).collect()
    }

    /// Opens the material of a version, and checks its id (SPEC K-MASTER).
    pub(in crate::keyring) fn material(
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

/// The key of a version, if it is ready already.
fn known(earlier: &WrappingKeys, record: &VersionRecord) -> Option<Arc<dyn WrappingKey>> {
    let known = earlier.get(&record.master_key_id)?;
    (known.algorithm() == record.algorithm).then(|| known.clone())
}

/// The versions whose key material is in the file.
fn sealed_versions(keysets: &KeysetMap) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    versions(keysets).filter(|(_, record)| version::has_sealed(record))
}

/// The versions whose key material is on a token.
fn token_versions(keysets: &KeysetMap) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    let kept = |record: &VersionRecord| record.state != VersionState::Destroyed;
    versions(keysets).filter(move |(_, record)| kept(record) && !version::has_sealed(record))
}

fn versions(keysets: &KeysetMap) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    keysets.iter().flat_map(|keyset| keyset.versions().iter().map(move |record| (keyset, record)))
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
