//! Adding, replacing, removing and listing the protections of the file key.

use super::decode;
use super::fault::{KeyFileFault, ProtectionsFault, at_header};
use super::file_key::FileKey;
use super::protection_slot::{self, ProtectionId, ProtectionSlot};
use super::record::FormatVersion;
use super::{KeyFile, protection};
use crate::keyring::file::{Protection, ProtectionKind, ProtectionRecord};
use crate::random::KeyringRng;
use alloc::vec::Vec;

impl KeyFile {
    /// Adds `protection`, and returns its id.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create); [`KeyFileFault::Protections`].
    pub fn add_protection(
        &mut self,
        key: &FileKey,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ProtectionId, KeyFileFault> {
        if self.protections.len() >= protection_slot::MAX_PROTECTIONS {
            // Before a passphrase is stretched.
            let what = ProtectionsFault::TooMany { most: protection_slot::MAX_PROTECTIONS };
            return Err(KeyFileFault::Protections { what });
        }
        self.raise_version()?;
        let new = key.protect(None, protection, rng)?;
        let id = new.id;
        let mut protections = self.protections.clone();
        protections.push(new);
        self.set_protections(protections)?;
        Ok(id)
    }

    /// Replaces the protection `id` by `protection`, under the same id, and under the same name unless
    /// `protection` has a name.
    ///
    /// # Errors
    ///
    /// Those of [`add_protection`](Self::add_protection).
    pub fn rewrap_protection(
        &mut self,
        key: &FileKey,
        id: ProtectionId,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyFileFault> {
        let position = self.position(id)?;
        self.raise_version()?;
        let mut protections = self.protections.clone();
        if let Some(slot) = protections.get_mut(position) {
            let is_plain = |kind| kind == Some(ProtectionKind::Unprotected);
            if is_plain(slot.kind) != is_plain(Some(protection.kind())) {
                let what = ProtectionsFault::Plaintext;
                return Err(KeyFileFault::Protections { what });
            }
            *slot = key.protect(Some(slot), protection, rng)?;
        }
        self.set_protections(protections)
    }

    /// Removes the protection `id`.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::Protections`] if the id is unknown, or the protection is the only one.
    pub fn remove_protection(&mut self, id: ProtectionId) -> Result<(), KeyFileFault> {
        let position = self.position(id)?;
        self.raise_version()?;
        let mut protections = self.protections.clone();
        protections.remove(position);
        self.set_protections(protections)
    }

    fn position(&self, id: ProtectionId) -> Result<usize, KeyFileFault> {
        let position = self.protections.iter().position(|stored| stored.id == id);
        let what = ProtectionsFault::Unknown { id };
        position.ok_or(KeyFileFault::Protections { what })
    }

    pub(super) fn set_protections(
        &mut self,
        protections: Vec<ProtectionSlot>,
    ) -> Result<(), KeyFileFault> {
        if protections.is_empty() {
            return Err(KeyFileFault::Protections { what: ProtectionsFault::Last });
        }
        protection_slot::check_for_write(&protections)?;
        self.protections = protections;
        Ok(())
    }

    /// Raises the file to format version 2, since version 1 cannot express the change.
    // FORMAT F-RAISE
    pub(super) fn raise_version(&mut self) -> Result<(), KeyFileFault> {
        if self.version == FormatVersion::One {
            let all = self.protections.iter().cloned().map(ProtectionSlot::in_version_2);
            let all = all.collect::<Result<_, _>>();
            self.protections = all.map_err(at_header)?;
            self.version = FormatVersion::Two;
            self.unknown.raise_version();
        }
        Ok(())
    }

    /// The protections of the file key.
    pub fn protections(&self) -> Vec<ProtectionRecord> {
        self.protections.iter().map(record_of).collect()
    }
}

/// The protections of a file, unverified.
///
/// # Errors
///
/// The fault of a damaged header.
pub fn protections(bytes: &[u8]) -> Result<Vec<ProtectionRecord>, KeyFileFault> {
    let header = decode::header(bytes)?;
    Ok(header.protections.iter().map(record_of).collect())
}

fn record_of(stored: &ProtectionSlot) -> ProtectionRecord {
    let outer = match stored.kind {
        // Nothing: a damaged message names no outer key.
        Some(ProtectionKind::Keyring) => protection::outer_keys(&stored.text).unwrap_or_default(),
        _ => Vec::new(),
    };
    ProtectionRecord { id: stored.id, name: stored.name.clone(), kind: stored.kind, outer }
}
