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
    SLOT_FIXED_LEN.saturating_add(name.len()).saturating_add(wrapped_key_len)
}
