//! The protections in the header of a key file, one slot each, and their changes.

use super::decode;
use super::fault::{KeyFileFault, ProtectionsFault, RecordFault, at_header};
use super::file_key::FileKey;
use super::json::{Fields, Object, from_hex, to_hex};
use super::record::{FormatVersion, name_of};
use super::{KeyFile, file_key_wrap};
use crate::crypto::hash;
use crate::keyring::file::{Argon2Cost, Protection, ProtectionKind, ProtectionRecord};
use crate::random::KeyringRng;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde_json::value::RawValue;

/// Most protections of one key file (FORMAT F-PROTECTIONS).
pub(crate) const MAX_PROTECTIONS: usize = 8;

/// Most passphrases of one key file: as many Argon2id runs as one opening can cost.
pub(crate) const MAX_PASSPHRASES: usize = 4;

/// Names one protection of a key file for as long as it is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the bytes of the id")]
pub struct ProtectionId(pub [u8; 8]);

impl ProtectionId {
    /// Reads 16 lower-case hexadecimal digits, as `Display` shows an id.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text.as_bytes()).map(ProtectionId)
    }
}

impl fmt::Display for ProtectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for ProtectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectionId({self})")
    }
}

/// One protection: what is read of it before it is opened, and its JSON text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ProtectionSlot {
    pub(super) id: ProtectionId,
    pub(super) name: Option<String>,
    /// `None` if this version does not know the kind.
    pub(super) kind: Option<ProtectionKind>,
    /// The object, byte for byte as the file has it.
    pub(super) text: String,
}

impl ProtectionSlot {
    /// Reads an object of format version 2.
    fn parse(text: &str) -> Result<Self, RecordFault> {
        let mut fields = Fields::parse(text)?;
        let kind = ProtectionKind::named(&fields.string("kind")?);
        let id = ProtectionId(fields.hex("id")?);
        let name = fields.optional("name", name_of)?;
        Ok(ProtectionSlot { id, name, kind, text: text.into() })
    }

    /// Reads the one object of format version 1, which has no id: the same one makes the same.
    pub(super) fn of_version_1(text: &str) -> Result<Self, RecordFault> {
        let kind = ProtectionKind::named(&Fields::parse(text)?.string("kind")?);
        let [a, b, c, d, e, f, g, h, ..] = hash::sha256(&[text.as_bytes()]);
        let id = ProtectionId([a, b, c, d, e, f, g, h]);
        Ok(ProtectionSlot { id, name: None, kind, text: text.into() })
    }

    /// The same protection as format version 2 has it.
    pub(super) fn in_version_2(self) -> Result<Self, RecordFault> {
        let fields = Fields::parse(&self.text)?.into_extra();
        let object = Object::new().hex("id", &self.id.0);
        let kept = fields.iter().filter(|(field, _)| field != "id" && field != "name");
        let object = kept.fold(object, |object, (field, json)| object.raw(field, json));
        Ok(ProtectionSlot { text: object.end(), ..self })
    }

    /// The cost of a passphrase, if it is one and can be read.
    fn cost(&self) -> Option<Argon2Cost> {
        let is_passphrase = self.kind == Some(ProtectionKind::Passphrase);
        is_passphrase.then(|| file_key_wrap::cost(&self.text))?.ok()
    }
}

/// Reads the array of format version 2.
// FORMAT F-PROTECTIONS
pub(super) fn parse(objects: &[&RawValue]) -> Result<Vec<ProtectionSlot>, RecordFault> {
    let wrong = || RecordFault::Value { field: "protections" };
    if objects.is_empty() || objects.len() > MAX_PROTECTIONS {
        return Err(wrong());
    }
    let stored: Vec<_> = objects
        .iter()
        .map(|object| ProtectionSlot::parse(object.get()))
        .collect::<Result<_, _>>()?;
    check(&stored).map_err(|_| wrong())?;
    Ok(stored)
}

/// The objects of format version 2, as an array.
pub(super) fn write(all: &[ProtectionSlot]) -> String {
    let texts: Vec<&str> = all.iter().map(|stored| stored.text.as_str()).collect();
    ["[", &texts.join(","), "]"].concat()
}

/// Checks that protections can stand beside each other.
fn check(all: &[ProtectionSlot]) -> Result<(), ProtectionsFault> {
    let of = |kind| all.iter().filter(|stored| stored.kind == Some(kind)).count();
    if all.len() > MAX_PROTECTIONS {
        return Err(ProtectionsFault::TooMany { most: MAX_PROTECTIONS });
    }
    if of(ProtectionKind::Passphrase) > MAX_PASSPHRASES {
        return Err(ProtectionsFault::TooManyPassphrases { most: MAX_PASSPHRASES });
    }
    if of(ProtectionKind::Unprotected) > 0 && all.len() > 1 {
        return Err(ProtectionsFault::Plaintext);
    }
    let twice = |(at, stored): (usize, &ProtectionSlot)| {
        all.iter().take(at).any(|before| before.id == stored.id).then_some(stored.id)
    };
    match all.iter().enumerate().find_map(twice) {
        Some(id) => Err(ProtectionsFault::DuplicateId { id }),
        None => Ok(()),
    }
}

/// Checks that protections can stand beside each other in a file that is written.
pub(super) fn check_for_write(all: &[ProtectionSlot]) -> Result<(), KeyFileFault> {
    check(all).map_err(|what| KeyFileFault::Protections { what })?;
    // FORMAT F-COST: what one opening can be made to pay.
    let mut budget = Argon2Cost::MAX_MEMORY_PASSES;
    for cost in all.iter().filter_map(ProtectionSlot::cost) {
        budget =
            cost.paid_from(budget).map_err(|fault| KeyFileFault::Argon2Cost { cost, fault })?;
    }
    Ok(())
}

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
        if self.protections.len() >= MAX_PROTECTIONS {
            // Before a passphrase is stretched.
            let what = ProtectionsFault::TooMany { most: MAX_PROTECTIONS };
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
        check_for_write(&protections)?;
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

    /// Returns the protections of the file key.
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
        Some(ProtectionKind::Keyring) => {
            file_key_wrap::outer_keys(&stored.text).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    ProtectionRecord { id: stored.id, name: stored.name.clone(), kind: stored.kind, outer }
}
