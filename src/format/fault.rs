//! Faults of a header that is read, and of a slot that is written.

use super::{KeyVersion, WrapAlgorithm};
use alloc::string::String;
use core::fmt;

/// Why a header is invalid at the offset of the error.
///
/// The values are exact, since a reader of the bytes sees them as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The format version is not 1.
    #[error("format version {0} is not supported")]
    UnknownFormat(u8),
    /// The suite id is not assigned.
    #[error("suite {0} is unknown")]
    UnknownSuite(u8),
    /// The header length is too short for any slot.
    #[error("header length {0} cannot hold a slot")]
    HeaderLength(u16),
    /// The slot count is zero, more than 16, or more than fit in the header length.
    #[error("slot count {0} is not 1 to 16 or does not fit in the header")]
    SlotCount(u8),
    /// A key version is zero.
    #[error("key version is zero")]
    ZeroVersion,
    /// A wrap algorithm is zero.
    #[error("wrap algorithm is zero")]
    ZeroAlgorithm,
    /// A wrap algorithm fixes a length for the wrapped key that does not fit in the header.
    #[error("a slot with wrap algorithm {0} does not fit in the header")]
    AlgorithmRoom(u8),
    /// A key name is empty or does not fit in the header.
    #[error("key name length {0} is zero or does not fit in the header")]
    KeyNameLength(u8),
    /// A wrapped key length is out of range, not the algorithm's, or does not fit.
    #[error("wrapped key length {0} is out of range, not its algorithm's, or does not fit")]
    WrappedKeyLength(u16),
    /// A key name has a byte outside the alphabet.
    #[error("byte {0:#04x} is not allowed in a key name")]
    KeyNameByte(u8),
    /// Two slots have the same key name, version and master key id.
    #[error("slot repeats the key name, version and master key id of an earlier slot")]
    DuplicateSlot,
    /// The padding has a byte that is not zero.
    #[error("padding is not zero")]
    Padding,
}

/// Why a slot that a keyring pushed was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotFault {
    /// The header already holds 16 slots.
    #[error("a header holds at most 16 slots")]
    TooMany,
    /// The header already holds a slot of this name, version and master key id.
    #[error("header already has a slot of {name} version {version}")]
    Duplicate {
        /// The key name.
        name: String,
        /// The key version.
        version: KeyVersion,
    },
    /// The wrapped key is empty, is longer than 32,768 bytes, or does not have the length that its
    /// algorithm fixes for the suite.
    #[error("a wrapped key of {len} bytes is invalid for {algorithm}")]
    WrappedKeyLength {
        /// The algorithm.
        algorithm: WrapAlgorithm,
        /// The length in bytes.
        len: usize,
    },
    /// A rewrap of a slot produced a slot of another key name, which would grant access to another
    /// key.
    #[error("rewrap of another key name produced a slot of {name}")]
    OtherName {
        /// The other name.
        name: String,
    },
    /// The slots do not fit.
    #[error("slots need {needed} bytes, {available} are available")]
    Room {
        /// Length in bytes of the slots up to this one.
        needed: usize,
        /// Bytes available.
        available: usize,
    },
    /// A slot that a rewrap produced does not unwrap to the data key of the message.
    #[error("new slot does not unwrap to the same data key")]
    Unproven,
    /// A rewrap of one slot pushed several slots.
    #[error("rewrap of a slot produced several slots")]
    NotOne,
    /// The keyring reported success without a slot.
    #[error("keyring pushed no slot")]
    None,
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessagePart {
    /// The header.
    Header,
    /// The body.
    Body,
}

impl fmt::Display for MessagePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessagePart::Header => "header",
            MessagePart::Body => "body",
        })
    }
}
