//! Message format, version 1: the header's bytes and what is bound to what.
//!
//! `SPEC.md` in this folder is normative. Its rule ids (`H-LEN`, `K-CHECK`, ...) stand beside the
//! lines that implement them.

pub(crate) mod codec;
mod decode;
mod encode;
mod fault;
mod ids;
mod immutable;
pub mod layout;
mod looks_like;
mod name;
mod slot;
mod suite;

pub use decode::{Header, Slots};
pub(crate) use encode::{encode_slot, header_len_field, rewrite_header, unpadded_len, write_fixed};
pub use fault::{HeaderFault, MessagePart, SlotFault};
pub use ids::{DataKeyId, KeyVersion, MasterKeyId, WrapAlgorithm};
#[cfg(feature = "std")]
pub(crate) use immutable::CHECK_HASH;
pub(crate) use immutable::ImmutableCore;
pub use looks_like::LooksLike;
pub use name::{InvalidKeyName, KeyName};
pub use slot::{OwnedSlot, Slot, SlotLabel};
pub(crate) use slot::{index_bytes, slot_len};
pub use suite::Suite;

/// First four bytes of every header.
pub const MAGIC: [u8; 4] = [0xE5, 0x4E, 0x56, 0x4C];

/// The format version of messages.
pub const FORMAT_VERSION: u8 = 1;

/// Maximum number of slots of a header.
pub const MAX_SLOTS: usize = 16;

/// Maximum length of a header in bytes, padding included.
pub const MAX_HEADER_LEN: usize = 65_535;

/// Maximum length of a key name in bytes.
pub const MAX_KEY_NAME_LEN: usize = 255;

/// Maximum length of a wrapped key in bytes.
pub const MAX_WRAPPED_KEY_LEN: usize = 32_768;

/// Offsets of the header fields from its first byte.
pub(crate) mod offset {
    pub(crate) const FORMAT: usize = 4;
    pub(crate) const SUITE: usize = 5;
    pub(crate) const HEADER_LEN: usize = 22;
    pub(crate) const SLOT_COUNT: usize = 24;
    pub(crate) const SLOTS: usize = 25;
}

/// Length of a slot before its key name.
pub(crate) const SLOT_FIXED_LEN: usize = 16;

/// Length of the shortest header.
pub(crate) const MIN_HEADER_LEN: usize = offset::SLOTS + MIN_SLOT_LEN;

/// Length of the shortest slot: a one-byte name and a one-byte wrapped key.
pub(crate) const MIN_SLOT_LEN: usize = SLOT_FIXED_LEN + 2;
