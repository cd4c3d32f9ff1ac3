//! A slot: one wrapped key with the name, version and id of the master key that wraps it.

use super::{KeyName, KeyVersion, MasterKeyId, SLOT_FIXED_LEN, WrapAlgorithm};
use alloc::boxed::Box;
use core::fmt;

/// The name, version, id and algorithm of the master key of a slot.
///
/// In a header the label is unverified: a writer of the message can change it. A successful unwrap
/// of the slot verifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of format version 1 are settled")]
pub struct SlotLabel<'a> {
    /// Name of the master key.
    pub name: KeyName<'a>,
    /// Version of the master key.
    pub version: KeyVersion,
    /// Id of the master key's material.
    pub master_key_id: MasterKeyId,
    /// How the data key is wrapped.
    pub algorithm: WrapAlgorithm,
}

impl SlotLabel<'_> {
    /// Returns whether both have the same key name, version and master key id.
    ///
    /// The wrap algorithm is not compared: a version has one algorithm, and slots that differ in it
    /// alone are duplicates (SPEC H-DUPLICATE).
    pub fn same_key(&self, other: &SlotLabel<'_>) -> bool {
        self.master_key_id == other.master_key_id
            && self.version == other.version
            && self.name == other.name
    }

    /// Returns the 12 bytes of this key in a header: version, then master key id.
    ///
    /// For slot 0 they are bytes 25..37 of every header, so a database finds the messages under a
    /// version by an index, without this library. In SQL, where the first byte is number 1:
    ///
    /// | database | index |
    /// |---|---|
    /// | PostgreSQL | `CREATE INDEX slot0 ON t (substring(header from 26 for 12))` |
    /// | SQLite | `CREATE INDEX slot0 ON t (substr(header, 26, 12))` |
    /// | MySQL | `ALTER TABLE t ADD slot0 BINARY(12) AS (substring(header, 26, 12)) STORED, ADD INDEX (slot0)` |
    ///
    /// and then, with the `index_bytes` of each version to be retired as parameters:
    ///
    /// ```sql
    /// SELECT id FROM t WHERE substring(header from 26 for 12) IN ($1, $2) -- PostgreSQL
    /// SELECT id FROM t WHERE substr(header, 26, 12) IN (?, ?)             -- SQLite
    /// SELECT id FROM t WHERE slot0 IN (?, ?)                              -- MySQL
    /// ```
    ///
    /// - Compare for equality with known old values, **never by `<`**: after a rollback the higher
    ///   version is the stale one, and ids have no order.
    /// - Compare all 12 bytes, never the version alone: two keyrings may both have a version 1 of
    ///   one name, and only the ids differ.
    /// - To find versions that the list lacks, count the rows that are `<>` the present value
    ///   ([`primary_index_bytes`](crate::keyring::primary_index_bytes)). This reads the
    ///   whole table.
    /// - The index covers the first slot alone. [`Envelope::examine`](crate::Envelope::examine)
    ///   covers every slot and verifies labels; a writer of a row can write any label.
    #[doc(alias = "sql")]
    pub fn index_bytes(&self) -> [u8; 12] {
        index_bytes(self.version, self.master_key_id)
    }
}

/// Returns the first 12 bytes of a slot.
pub(crate) fn index_bytes(version: KeyVersion, MasterKeyId(id): MasterKeyId) -> [u8; 12] {
    let [a, b, c, d] = version.number().to_be_bytes();
    let [e, f, g, h, i, j, k, l] = id;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// One wrapped key of a header, with its label.
#[doc(alias = "EDK")]
#[doc(alias = "encrypted data key")]
#[doc(alias = "recipient")]
#[doc(alias = "stanza")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of format version 1 are settled")]
pub struct Slot<'a> {
    /// The master key that wraps the data key, and the algorithm.
    pub label: SlotLabel<'a>,
    /// The wrapped key, 1 to 32,768 bytes. Algorithms 1 to 3 fix the length.
    pub wrapped_key: &'a [u8],
}

impl Slot<'_> {
    /// Returns the length of the slot in a header, in bytes.
    pub fn encoded_len(&self) -> usize {
        slot_len(self.label.name, self.wrapped_key.len())
    }
}

/// A [`Slot`] that owns its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedSlot {
    name: Box<str>,
    version: KeyVersion,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
    wrapped_key: Box<[u8]>,
}

impl OwnedSlot {
    /// Returns the label.
    pub fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }

    /// Returns the slot.
    pub fn as_slot(&self) -> Slot<'_> {
        Slot { label: self.label(), wrapped_key: &self.wrapped_key }
    }
}

impl From<&Slot<'_>> for OwnedSlot {
    fn from(&Slot { label, wrapped_key }: &Slot<'_>) -> Self {
        OwnedSlot {
            name: label.name.as_str().into(),
            version: label.version,
            master_key_id: label.master_key_id,
            algorithm: label.algorithm,
            wrapped_key: wrapped_key.into(),
        }
    }
}

impl fmt::Debug for OwnedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slot().fmt(f)
    }
}

/// Returns the length of a slot with this name and this length of wrapped key, in bytes.
pub(crate) fn slot_len(name: KeyName<'_>, wrapped_key_len: usize) -> usize {
    SLOT_FIXED_LEN + name.len() + wrapped_key_len
}
