//! The protections of a key file as they are stored: each keeps the file key on its own.

use super::fault::{KeyFileFault, ProtectionsFault, RecordFault};
use super::json::{Fields, Object, from_hex, to_hex};
use super::protection;
use super::record::name_of;
use crate::crypto::hash;
use crate::keyring::file::{Argon2Cost, ProtectionKind};
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
        is_passphrase.then(|| protection::cost(&self.text))?.ok()
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
