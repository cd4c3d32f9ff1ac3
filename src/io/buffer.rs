//! A buffer for bytes that may be plaintext.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use crate::wiped::WipedBuffer;

/// Bytes, of which those from `start` to `end` are filled. Wiped on drop, and never grown in place.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: WipedBuffer,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn consume(&mut self, len: usize) {
        // Saturates: a reader may claim to have taken more.
        self.start = self.start.saturating_add(len).min(self.end);
    }

    /// Makes room for at least `len` bytes in all, with `filled` at the start.
    pub(super) fn refill(&mut self, len: usize, filled: &[u8]) {
        if self.bytes.len() < len {
            self.bytes = WipedBuffer::zeros(len);
        }
        self.bytes[..filled.len()].copy_from_slice(filled);
        (self.start, self.end) = (0, filled.len());
    }

    /// Moves the filled bytes to the start.
    pub(super) fn compact(&mut self) {
        let filled = self.start..self.end;
        (self.start, self.end) = (0, filled.len());
        if filled.start > 0 {
            self.bytes.copy_within(filled, 0);
        }
    }

    /// Counts `len` bytes more as filled, within the capacity.
    pub(super) fn add(&mut self, len: usize) {
        // Saturates: a source may claim to have given more.
        self.end = self.end.saturating_add(len).min(self.bytes.len());
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Copies as many of `bytes` as fit and returns their number.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.add(len);
        len
    }
}
