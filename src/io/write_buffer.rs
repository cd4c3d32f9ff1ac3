//! Encrypted bytes on their way to a sink, many chunks at a time.
//!
//! Always whole chunks: of a message that is never finished, every reader says that it is truncated,
//! and not that a chunk of it was changed.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::error::uninterrupted;
use super::{CHUNKS, LONG_CHUNKS, LONG_LEN};
use crate::body::layout::ENCRYPTED_CHUNK_LEN;
use alloc::vec;
use alloc::vec::Vec;
use std::io::{self, Write};

/// Encrypted bytes of which those from `start` to `end` are still to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// How many were written.
    written: u64,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Makes room for that many chunks, or for as many as are written at a time, behind what is
    /// still to be written, and hands it out; what is put there counts after [`Self::add`].
    ///
    /// There is always room for one as long as it is not [full](Self::is_full).
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

    /// Makes room for that many chunks where nothing waits, however many, and hands it out.
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

    /// Whether there is as much of it as is worth a write.
    pub(super) fn is_full(&self) -> bool {
        let len = self.end - self.start;
        len / ENCRYPTED_CHUNK_LEN >= self.piece_chunks()
    }

    /// Writes all of it. What was written is not written again, whatever happens.
    pub(super) fn write_to(&mut self, sink: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            let rest = &self.bytes[self.start..self.end];
            match uninterrupted(|| sink.write(rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                len => {
                    // Saturates: a sink may say that it took more; the other is a count.
                    self.start = self.start.saturating_add(len).min(self.end);
                    self.written = self.written.saturating_add(len as u64);
                }
            }
        }
        Ok(())
    }

    /// How many chunks are worth a write.
    fn piece_chunks(&self) -> usize {
        if self.written < LONG_LEN { CHUNKS } else { LONG_CHUNKS }
    }
}

/// All of it is to be written.
impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Outgoing { start: 0, end: bytes.len(), bytes, written: 0 }
    }
}
