//! Random access to the plaintext of a message.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions within a message, which are at most 2^53"
)]

use super::batch::batch_chunks;
use super::error::uninterrupted;
use super::{ReadAt, SeekReader};
use crate::error::Error;
use crate::format::MessagePart;
use crate::format::layout::{CHUNK_LEN, MAX_PLAINTEXT_LEN};
use crate::stream::{RangeDecryptor, RangePlan};
use crate::wiped::WipedBuffer;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroize;

/// Decrypts any part of a message without the rest; created by
/// [`Envelope::range_reader`](crate::Envelope::range_reader). Several threads can share it.
///
/// Reads and decrypts only the chunks that a range touches, and verifies each at its position. The end of
/// the message counts only after its last chunk was verified at the position that the length of the
/// source implies. So a read returns the plaintext of the whole message or an error, and intact parts can
/// be read although others are damaged.
pub struct RangeReader<S> {
    source: S,
    message: RangeDecryptor,
    /// Chunks that are read at a time.
    batch_chunks: usize,
    len_verified: AtomicBool,
}

impl<S: ReadAt> RangeReader<S> {
    /// Reads the chunks that `message` plans from `source`: for a message whose start was read before or
    /// is stored apart.
    pub fn from_decryptor(source: S, message: RangeDecryptor) -> Self {
        let batch_chunks = batch_chunks(message.threads());
        RangeReader { source, message, batch_chunks, len_verified: AtomicBool::new(false) }
    }

    /// Returns the length in bytes of the plaintext. The first call verifies the last chunk.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if the message does not end where the source does;
    /// [`Error::Truncated`] if the source has become shorter; [`Error::Io`].
    #[expect(clippy::len_without_is_empty, reason = "it can fail, and no caller needs it")]
    pub fn len(&self) -> Result<u64, Error> {
        if !self.len_verified.load(Ordering::Relaxed) {
            let plan = self.message.plan_end();
            self.read_plan(&plan, &mut [], &mut Vec::new())?;
        }
        Ok(self.message.unverified_len())
    }

    /// Reads the plaintext at `offset` until `out` is full or the message ends, and returns the number of
    /// bytes. Fewer than `out.len()` means that the end was verified.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if a chunk does not verify or the message does not end where the source
    /// does; [`Error::Truncated`] if the source has become shorter; [`Error::Io`]. `out` is then wiped.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<usize, Error> {
        let read = self.read_pieces(out, offset);
        if read.is_err() {
            out.zeroize();
        }
        read
    }

    /// Reads the plaintext at `offset` until `out` is full.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of kind `UnexpectedEof` if the message ends before; the errors of
    /// [`read_at`](Self::read_at).
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<(), Error> {
        if self.read_at(out, offset)? == out.len() {
            return Ok(());
        }
        out.zeroize();
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
    }

    /// The length in bytes of the plaintext that the size of the source implies.
    pub(super) fn unverified_len(&self) -> u64 {
        self.message.unverified_len()
    }

    /// Returns a reader with a position, which implements `Read` and `Seek`.
    pub fn into_seek_reader(self) -> SeekReader<S> {
        SeekReader::new(self)
    }

    /// Returns the source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Returns the source.
    pub fn into_inner(self) -> S {
        self.source
    }

    fn read_pieces(&self, out: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut encrypted = Vec::new();
        let mut done = 0_usize;
        loop {
            let rest = &mut out[done..];
            if rest.is_empty() {
                return Ok(done);
            }
            // A range that starts behind the longest message is not empty, so the end is verified.
            // Saturates: no message is longer.
            let start = offset.saturating_add(done as u64).min(MAX_PLAINTEXT_LEN);
            // Up to the end of a chunk, so that none is decrypted twice.
            let into_chunk = start % CHUNK_LEN as u64;
            let piece = self.batch_chunks * CHUNK_LEN;
            let piece = (piece as u64 - into_chunk).min(rest.len() as u64);
            let plan = self.message.plan(start..start + piece);
            let len = usize::try_from(plan.plaintext_len()).map_err(|_| Error::MessageTooLong)?;
            self.read_plan(&plan, &mut rest[..len], &mut encrypted)?;
            done += len;
            if (len as u64) < piece {
                return Ok(done);
            }
        }
    }

    fn read_plan(
        &self,
        plan: &RangePlan,
        out: &mut [u8],
        encrypted: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let len = usize::try_from(plan.encrypted_len()).map_err(|_| Error::MessageTooLong)?;
        if out.len() < CHUNK_LEN {
            // No chunk is wanted whole: it is decrypted in the buffer, and a part is copied.
            let mut chunks = WipedBuffer::zeros(len);
            self.fetch(&mut chunks, plan.encrypted().start)?;
            out.copy_from_slice(self.message.decrypt_in_place(plan, &mut chunks)?);
            self.note_proof(plan);
            return Ok(());
        }
        if encrypted.len() < len {
            *encrypted = vec![0; len];
        }
        let encrypted = &mut encrypted[..len];
        self.fetch(encrypted, plan.encrypted().start)?;
        self.message.decrypt_into(plan, encrypted, out)?;
        self.note_proof(plan);
        Ok(())
    }

    fn note_proof(&self, plan: &RangePlan) {
        if self.message.proves_len(plan) {
            self.len_verified.store(true, Ordering::Relaxed);
        }
    }

    fn fetch(&self, out: &mut [u8], offset: u64) -> Result<(), Error> {
        let mut done = 0_usize;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let most = rest.len();
            let len = uninterrupted(|| self.source.read_at(rest, at))?.min(most);
            if len == 0 {
                let body = self.message.body_offset();
                let needed = offset + out.len() as u64 - body;
                let len = at - body;
                return Err(Error::Truncated { part: MessagePart::Body, len, needed });
            }
            done += len;
        }
        Ok(())
    }
}

impl<S> fmt::Debug for RangeReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeReader").field("message", &self.message).finish_non_exhaustive()
    }
}
