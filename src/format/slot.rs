//! A slot: one wrapped key with the name, version and id of the master key that wraps it.

use super::{KeyName, KeyVersion, MasterKeyId, SLOT_FIXED_LEN, WrapAlgorithm};

/// What a slot says of its master key. From a header it is a hint: anyone who can write the
/// message could have changed it. It is proven once the slot unwraps.
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
    /// Whether both name the same master key material under the same label.
    ///
    /// The wrap algorithm is left out: a version has one for life, and two slots that differ
    /// in it alone count as duplicates (SPEC H-DUPLICATE).
    pub fn same_key(&self, other: &SlotLabel<'_>) -> bool {
        self.name == other.name
            && self.version == other.version
            && self.master_key_id == other.master_key_id
    }

    /// The 12 bytes that stand for this key in a header: version, then master key id.
    ///
    /// Of slot 0 they are bytes 25..37 of every header, so that a database finds what is still
    /// under a version by an index, without this library. In SQL, where the first byte is number 1:
    ///
    /// | database | index |
    /// |---|---|
    /// | PostgreSQL | `CREATE INDEX slot0 ON t (substring(header from 26 for 12))` |
    /// | SQLite | `CREATE INDEX slot0 ON t (substr(header, 26, 12))` |
    /// | MySQL | `ALTER TABLE t ADD slot0 BINARY(12) AS (substring(header, 26, 12)) STORED, ADD INDEX (slot0)` |
    ///
    /// and then, with the `index_bytes` of each version that is to go as parameters:
    ///
    /// ```sql
    /// SELECT id FROM t WHERE substring(header from 26 for 12) IN ($1, $2) -- PostgreSQL
    /// SELECT id FROM t WHERE substr(header, 26, 12) IN (?, ?)             -- SQLite
    /// SELECT id FROM t WHERE slot0 IN (?, ?)                              -- MySQL
    /// ```
    ///
    /// - Compare for equality with known old values, **never by `<`**: a rollback makes a higher
    ///   version the stale one, and ids have no order.
    /// - Compare all 12 bytes, never the version alone: two keyrings may both have a version 1 of
    ///   one name, and only the ids differ.
    /// - To see that nothing else is left, count what is `<>` the present value
    ///   ([`Envelope::primary_index_bytes`](crate::Envelope::primary_index_bytes)): that reads the
    ///   whole table, and finds what nobody listed.
    /// - Slots behind the first are not seen: [`Envelope::examine`](crate::Envelope::examine)
    ///   counts them. It also proves what here is a hint: anyone who can write a row can write a label.
    #[doc(alias = "sql")]
    pub fn index_bytes(&self) -> [u8; 12] {
        index_bytes(self.version, self.master_key_id)
    }
}

/// What stands at the beginning of a slot.
pub(crate) fn index_bytes(version: KeyVersion, MasterKeyId(id): MasterKeyId) -> [u8; 12] {
    let [a, b, c, d] = version.number().to_be_bytes();
    let [e, f, g, h, i, j, k, l] = id;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// One wrapped key in a header, with its label.
#[doc(alias = "EDK")]
#[doc(alias = "encrypted data key")]
#[doc(alias = "recipient")]
#[doc(alias = "stanza")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of format version 1 are settled")]
pub struct Slot<'a> {
    /// Which master key wraps the data key, and how.
    pub label: SlotLabel<'a>,
    /// The wrapped key, 1 to 32,768 bytes; exact for algorithms 1 to 3.
    pub wrapped_key: &'a [u8],
}

impl Slot<'_> {
    /// Length of the slot in a header, in bytes.
    pub fn encoded_len(&self) -> usize {
        slot_len(self.label.name, self.wrapped_key.len())
    }
}

/// Length of a slot with this name and this length of wrapped key.
pub(crate) fn slot_len(name: KeyName<'_>, wrapped_key_len: usize) -> usize {
    SLOT_FIXED_LEN + name.len() + wrapped_key_len
}
