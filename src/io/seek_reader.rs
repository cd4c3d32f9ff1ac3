//! `Read` and `Seek` over the plaintext of a message.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "chunks of a position, and lengths of a message"
)]

use super::{RangeReader, ReadAt};
use crate::error::Error;
use crate::format::layout::CHUNK_LEN;
use crate::wiped::WipedBuffer;
use core::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

const CHUNK: u64 = CHUNK_LEN as u64;

/// Reads and seeks in the plaintext of a message; created by
/// [`RangeReader::into_seek_reader`].
///
/// Decrypts only the chunks that are read, and keeps the last one. `SeekFrom::End` verifies the last
/// chunk of the message first, and so does a read that returns `Ok(0)`. After an error the position is
/// unchanged, and other parts can still be read.
pub struct SeekReader<S> {
    message: RangeReader<S>,
    position: u64,
    /// The plaintext of one chunk, its length and its index.
    chunk: WipedBuffer,
    chunk_len: usize,
    chunk_index: Option<u64>,
}

impl<S: ReadAt> SeekReader<S> {
    pub(super) fn new(message: RangeReader<S>) -> Self {
        let chunk = WipedBuffer::default();
        SeekReader { message, position: 0, chunk, chunk_len: 0, chunk_index: None }
    }

    /// Returns the length in bytes of the plaintext. The first call verifies the last chunk.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if the message does not end where the source does;
    /// [`Error::Truncated`] if the source has become shorter; [`Error::Io`].
    #[expect(clippy::len_without_is_empty, reason = "it can fail, and no caller needs it")]
    pub fn len(&self) -> Result<u64, Error> {
        self.message.len()
    }

    /// Returns the reader of ranges.
    pub fn get_ref(&self) -> &RangeReader<S> {
        &self.message
    }

    /// Returns the reader of ranges.
    pub fn into_inner(self) -> RangeReader<S> {
        self.message
    }
}

impl<S: ReadAt> BufRead for SeekReader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let index = self.position / CHUNK;
        if self.chunk_index != Some(index) {
            self.chunk_index = None;
            if self.chunk.is_empty() {
                // One byte more than the message has: a read that is not full verifies the end.
                let len = self.message.unverified_len().min(CHUNK - 1) + 1;
                self.chunk = WipedBuffer::zeros(len as usize);
            }
            let offset = index * CHUNK;
            self.chunk_len = self.message.read_at(&mut self.chunk, offset)?;
            self.chunk_index = Some(index);
        }
        let start = (self.position % CHUNK) as usize;
        Ok(&self.chunk[start.min(self.chunk_len)..self.chunk_len])
    }

    fn consume(&mut self, len: usize) {
        // Saturates: a reader may claim to have taken more, and no message has bytes there.
        self.position = self.position.saturating_add(len as u64);
    }
}

impl<S: ReadAt> Read for SeekReader<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Whole chunks go straight to `out`.
        let is_aligned = self.position.checked_rem(CHUNK) == Some(0);
        let len = if is_aligned && out.len() >= CHUNK_LEN {
            self.message.read_at(out, self.position)?
        } else {
            self.fill_buf()?.read(out)?
        };
        self.consume(len);
        Ok(len)
    }
}

impl<S: ReadAt> Seek for SeekReader<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.message.len()?.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<S> fmt::Debug for SeekReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekReader").field("position", &self.position).finish_non_exhaustive()
    }
}
