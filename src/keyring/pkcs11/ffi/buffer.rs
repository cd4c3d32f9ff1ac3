//! Buffers for input and output of a token, wiped on drop.

use super::failure::{CallFailure, Function, Result};
use crate::crypto::secret::MAX_DATA_KEY_LEN;
use alloc::boxed::Box;
use zeroize::Zeroize;

/// The longest data key, in bytes.
pub(crate) const MAX_KEY_LEN: usize = MAX_DATA_KEY_LEN;

/// More than any output needs: some tokens refuse a buffer of the exact length.
const ROOM: usize = 128;

/// Bytes that are wiped on drop; boxed, so that moves leave no copies.
pub(crate) struct TokenBuffer {
    pub(super) room: Box<[u8; ROOM]>,
    pub(super) len: usize,
}

impl TokenBuffer {
    pub(super) fn new() -> Self {
        TokenBuffer { room: Box::new([0; ROOM]), len: 0 }
    }

    /// A wrapped key of `pieces`.
    #[expect(clippy::indexing_slicing, reason = "there is room for the longest wrapped key")]
    pub(crate) fn concat(pieces: &[&[u8]]) -> Self {
        let mut buffer = TokenBuffer::new();
        for piece in pieces {
            buffer.room[buffer.len..][..piece.len()].copy_from_slice(piece);
            buffer.len += piece.len();
        }
        buffer
    }

    /// The output of `function`, which must have `len` bytes.
    pub(crate) fn exactly(self, len: usize, function: Function) -> Result<Self> {
        if self.len == len { Ok(self) } else { Err(CallFailure::length(function)) }
    }

    #[expect(clippy::indexing_slicing, reason = "this many bytes were written")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl Drop for TokenBuffer {
    fn drop(&mut self) {
        self.room.zeroize();
    }
}
