//! The part of a message that did not verify.

use core::fmt;

/// The public part of a message that did not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unverified {
    /// A wrapped key: it was changed, belongs to another message, or is under other key material.
    WrappedKey,
    /// The associated data differ from those of the encryption, or the first 56 bytes of the body
    /// were changed. The two cannot be distinguished. The key is right.
    AadOrBodyStart,
    /// A full chunk was changed, or moved here from another position or message.
    Chunk {
        /// Its number, from 0: its plaintext begins at `16384 * index`.
        index: u64,
    },
    /// The last chunk: the message was cut off, continued or changed in its last `len` bytes.
    End {
        /// The number of that chunk, from 0: its plaintext begins at `16384 * index`.
        index: u64,
        /// Length in bytes of what does not verify, up to the end of the input.
        len: usize,
    },
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unverified::WrappedKey => f.write_str("wrapped key does not verify"),
            Unverified::AadOrBodyStart => f.write_str(
                "associated data differ, or the first 56 bytes of the body were changed",
            ),
            Unverified::Chunk { index } => write!(f, "chunk {index} was changed"),
            Unverified::End { len, .. } => {
                write!(f, "message is cut off or changed in its last {len} bytes")
            }
        }
    }
}
