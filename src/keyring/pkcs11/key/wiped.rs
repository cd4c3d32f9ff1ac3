//! Buffers for input and output of a token, wiped on drop.

use crate::crypto::secret::MAX_DATA_KEY_LEN;
use alloc::boxed::Box;
use zeroize::Zeroize;

/// The longest data key, in bytes.
pub(crate) const MAX_KEY_LEN: usize = MAX_DATA_KEY_LEN;

/// More than any output needs: some tokens refuse a buffer of the exact length.
const ROOM: usize = 128;

/// Bytes that are wiped on drop; boxed, so that moves leave no copies.
pub(crate) struct TokenBuffer {
    room: Box<[u8; ROOM]>,
    len: usize,
}

impl TokenBuffer {
    fn new() -> Self {
        TokenBuffer { room: Box::new([0; ROOM]), len: 0 }
    }

    /// Calls `write` with the whole room; it returns how many bytes it has written.
    pub(crate) fn written<E>(write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Self, E> {
        let mut buffer = TokenBuffer::new();
        buffer.len = write(buffer.room.as_mut_slice())?;
        Ok(buffer)
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
