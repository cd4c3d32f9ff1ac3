//! Encrypted bytes that wait for a sink.
//!
//! The buffer ends where a chunk does: a reader then finds a message that was never finished
//! truncated, and not changed.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::batch::{CHUNKS, LONG_CHUNKS, LONG_LEN};
use super::error::uninterrupted;
use crate::format::layout::ENCRYPTED_CHUNK_LEN;
use alloc::vec;
use alloc::vec::Vec;
use std::io::{self, Write};

/// Encrypted bytes, of which those from `start` to `end` are not written yet.
#[derive(Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes written so far.
    written: u64,
    /// Written before more is encrypted, however little there is.
    is_eager: bool,
}

impl WriteBuffer {
    /// A buffer that waits for no further chunk and stays short.
    #[cfg(feature = "tokio")]
    pub(super) fn eager(self) -> Self {
        WriteBuffer { is_eager: true, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Returns room for `chunks` chunks, or for as many as are written at a time, behind the bytes
    /// that wait. Bytes put there count after [`Self::add`].
    ///
    /// There is room for one chunk unless the buffer is [full](Self::is_full).
    pub(super) fn room(&mut self, chunks: usize) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // One more: so much can wait beside a full piece.
        let most = (self.piece_chunks() + 1) * ENCRYPTED_CHUNK_LEN;
        let len = (self.end + chunks * ENCRYPTED_CHUNK_LEN).min(most);
        if self.bytes.len() < len {
            // A short message does not cost a long buffer, and a long one only one move.
            let is_first = self.bytes.len() < ENCRYPTED_CHUNK_LEN;
            self.bytes.resize(if is_first { len } else { most }, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Returns room for `chunks` chunks, however many, in a buffer that is empty.
    pub(super) fn batch_room(&mut self, chunks: usize) -> &mut [u8] {
        (self.start, self.end) = (0, 0);
        let len = chunks * ENCRYPTED_CHUNK_LEN;
        if self.bytes.len() < len {
            self.bytes = vec![0; len];
        }
        &mut self.bytes[..len]
    }

    /// Counts `len` bytes more.
    pub(super) fn add(&mut self, len: usize) {
        self.end += len;
    }

    /// Whether there is enough for a write.
    pub(super) fn is_full(&self) -> bool {
        let len = self.end - self.start;
        self.is_eager || len / ENCRYPTED_CHUNK_LEN >= self.piece_chunks()
    }

    /// Writes all of it. No byte is written twice, also after an error.
    pub(super) fn write_to(&mut self, sink: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            let rest = &self.bytes[self.start..self.end];
            match uninterrupted(|| sink.write(rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                len => {
                    // Saturates: a sink may claim to have taken more; the other is a count.
                    self.start = self.start.saturating_add(len).min(self.end);
                    self.written = self.written.saturating_add(len as u64);
                }
            }
        }
        Ok(())
    }

    /// Chunks that are worth a write.
    fn piece_chunks(&self) -> usize {
        if self.is_eager || self.written < LONG_LEN { CHUNKS } else { LONG_CHUNKS }
    }
}

/// All of it waits.
impl From<Vec<u8>> for WriteBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        WriteBuffer { end: bytes.len(), bytes, ..WriteBuffer::default() }
    }
}
