//! Decryption of a message piece by piece.

use super::chunk_stream::{ChunkStream, ChunkTransform};
use super::{MessageStart, Progress};
use crate::aad::Aad;
use crate::body::{ChunkDecryptor, between_buffers};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::format::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN};
use crate::keyring::Keyring;
use crate::threads::Threads;
use crate::wiped::WipedBuffer;
use alloc::vec::Vec;
use core::fmt;

/// Decrypts a message piece by piece, without I/O; created by
/// [`open`](Self::open) or [`OpenedKey::stream_decryptor`](crate::OpenedKey::stream_decryptor) from the
/// message's first bytes ([`MessageStart`]). Takes the bytes that follow them.
///
/// A byte is output only after its chunk was verified, with its position in the message. **Only a
/// [`finish`](Self::finish) without an error proves that the message is complete**: until then the output
/// is the authentic beginning of a message whose end may be missing. Act on it only in ways that can be
/// undone.
///
/// After an error nothing more is output, and every call returns the error again.
#[must_use = "a message is known to be complete only after `finish`"]
pub struct StreamDecryptor {
    chunks: ChunkStream<'static, ChunkDecryptor>,
}

impl StreamDecryptor {
    /// Unwraps with the keyring of `envelope` and returns a decryptor of the bytes after `start`. Without a
    /// keyring, call [`OpenedKey::stream_decryptor`](crate::OpenedKey::stream_decryptor).
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::decrypt`]; [`Error::Truncated`] if the start is not complete.
    pub fn open<K: Keyring, R>(
        envelope: &Envelope<K, R>,
        start: &MessageStart,
        aad: Aad<'_>,
    ) -> Result<Self, Error> {
        envelope.stream_decryptor(start, aad)
    }

    pub(crate) fn new(decryptor: ChunkDecryptor, threads: Option<Threads>) -> Self {
        StreamDecryptor { chunks: ChunkStream::new(decryptor, Vec::new(), threads, None) }
    }

    /// Decrypts from `encrypted` to `out` as much as fits. If neither is empty, at least a byte is
    /// consumed or produced.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if a chunk does not verify; the output before it is verified.
    /// [`Error::MessageTooLong`] beyond 4 PiB; [`Error::Ended`] after [`finish`](Self::finish).
    pub fn update(&mut self, encrypted: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        self.chunks.update(encrypted, out)
    }

    /// Ends the message, verifies its last chunk and writes the rest of the plaintext to `out`. Call it
    /// until it returns 0, with room for at least one byte.
    ///
    /// The first call without an error proves that the message is complete, whatever the room in `out`.
    /// It outputs nothing of a message that is cut off: for all plaintext before the cut, call
    /// [`update`](Self::update) without input until it produces nothing.
    ///
    /// # Errors
    ///
    /// - [`Error::Truncated`] or [`Error::Authentication`] if the message does not end here.
    /// - [`Error::BufferLength`] if plaintext is left and `out` is empty.
    /// - An earlier error of [`update`](Self::update).
    pub fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.chunks.finish(out)
    }

    /// Returns whether the message is complete and all of its plaintext was output.
    pub fn is_finished(&self) -> bool {
        self.chunks.is_finished()
    }

    #[cfg(feature = "std")]
    pub(crate) fn into_chunks(self) -> ChunkStream<'static, ChunkDecryptor> {
        self.chunks
    }
}

impl ChunkTransform for ChunkDecryptor {
    const IN_LEN: usize = ENCRYPTED_CHUNK_LEN;
    const OUT_LEN: usize = CHUNK_LEN;

    fn transform(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        threads: Option<&Threads>,
    ) -> (usize, Option<Error>) {
        let between_buffers::Decrypted { len, failure } =
            between_buffers::decrypt_into(self, first, input, out, threads);
        (len, failure)
    }

    fn transform_in_place(&self, index: u64, buffer: &mut WipedBuffer) -> Result<(), Error> {
        let len = self.decrypt_in_place(index, buffer)?.len();
        buffer.truncate(len);
        Ok(())
    }

    #[cfg(feature = "std")]
    fn is_in_place_only(&self) -> bool {
        ChunkDecryptor::is_in_place_only(self)
    }

    #[cfg(feature = "std")]
    fn transform_at_start(&self, index: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let wrong_length = Error::BufferLength { len: buffer.len(), needed: ENCRYPTED_CHUNK_LEN };
        let encrypted = buffer.get_mut(..ENCRYPTED_CHUNK_LEN).ok_or(wrong_length)?;
        Ok(self.decrypt_in_place(index, encrypted)?.len())
    }

    #[cfg(feature = "std")]
    fn is_fast(&self) -> bool {
        ChunkDecryptor::is_fast(self)
    }

    /// The end must be where a last chunk can be (SPEC B-STREAM). The error is the one of a whole message
    /// in memory (SPEC B-LENGTH).
    fn check_last(&self, index: u64, buffer: &[u8]) -> Result<(), Error> {
        let body_len = layout::chunk_offset(index)?.checked_add(buffer.len() as u64);
        layout::plaintext_len(body_len.ok_or(Error::MessageTooLong)?).map(|_| ())
    }
}

impl fmt::Debug for StreamDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDecryptor").finish_non_exhaustive()
    }
}
