//! Encryption of a message piece by piece.

use super::Progress;
use super::chunk_stream::{ChunkStream, ChunkTransform};
use super::completion::Completion;
use crate::body::{ChunkEncryptor, between_buffers};
use crate::error::Error;
use crate::format::layout::{CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN};
use crate::threads::Threads;
use crate::wiped::WipedBuffer;
use alloc::vec::Vec;
use core::fmt;

/// Encrypts a message piece by piece, without I/O; created by
/// [`Envelope::stream_encryptor`](crate::Envelope::stream_encryptor).
///
/// Pieces and output buffers may have any length: the message is the same. Whole chunks go straight from
/// input to output, so pieces and buffers of several chunks (16,384 and 16,400 bytes) are fastest. Holds
/// one chunk.
///
/// **The message is complete only after [`finish`](Self::finish) has returned 0.** Every reader refuses
/// a shorter one as truncated.
///
/// A stream belongs to the process that created it: in a child of `fork` it fails with
/// [`Error::Forked`] before it encrypts, and the parent continues.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// let mut stream = envelope.stream_encryptor(Aad::none())?;
/// let (mut message, mut out) = (Vec::new(), [0; 20_000]);
/// for piece in [&b"four score"[..], b" and seven"] {
///     let mut rest = piece;
///     while !rest.is_empty() {
///         let progress = stream.update(rest, &mut out)?;
///         rest = &rest[progress.consumed..];
///         message.extend_from_slice(&out[..progress.produced]);
///     }
/// }
/// loop {
///     match stream.finish(&mut out)? {
///         0 => break,
///         len => message.extend_from_slice(&out[..len]),
///     }
/// }
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"four score and seven");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
#[must_use = "a message is complete only after `finish` has returned 0"]
pub struct StreamEncryptor<'k> {
    chunks: ChunkStream<'k, ChunkEncryptor>,
}

impl<'k> StreamEncryptor<'k> {
    /// Returns a stream of `start`, which ends with the prefix of the body, and the chunks.
    pub(crate) fn new(
        encryptor: ChunkEncryptor,
        start: Vec<u8>,
        threads: Option<Threads>,
        completion: Option<Completion<'k>>,
    ) -> Self {
        StreamEncryptor { chunks: ChunkStream::new(encryptor, start, threads, completion) }
    }

    /// Returns the header. Empty if it was taken, or a byte of it was output.
    pub fn header(&self) -> &[u8] {
        self.chunks.start_before(PREFIX_LEN)
    }

    /// Detaches the header and returns it. The stream then outputs the body alone. Empty if the header was
    /// taken before, or a byte of it was output.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring, stream::EncryptWriter};
    /// use std::io::Write;
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
    /// let mut stream = envelope.stream_encryptor(Aad::none())?;
    /// let header = stream.take_header();
    /// let mut writer = EncryptWriter::from_stream(Vec::new(), stream);
    /// writer.write_all(b"four score")?;
    /// let body = writer.finish()?;
    /// assert_eq!(envelope.open(&header)?.decrypt(&body, Aad::none())?, b"four score");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    pub fn take_header(&mut self) -> Vec<u8> {
        self.chunks.take_start_before(PREFIX_LEN)
    }

    /// Encrypts from `plaintext` to `out` as much as fits. If neither is empty, at least a byte is
    /// consumed or produced.
    ///
    /// # Errors
    ///
    /// [`Error::MessageTooLong`] at 4 PiB, and in every later call; [`Error::Ended`] after
    /// [`finish`](Self::finish).
    pub fn update(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        self.chunks.update(plaintext, out)
    }

    /// Ends the plaintext and writes the rest of the message to `out`. Call it until it returns 0, with
    /// room for at least one byte.
    ///
    /// Checks first, by [`Keyring::freshness`](crate::Keyring::freshness), that the versions in the
    /// header are still in use.
    ///
    /// # Errors
    ///
    /// - [`Error::StreamRefused`] if a version in the header was disabled, compromised or destroyed
    ///   meanwhile: encrypt the message again.
    /// - [`Error::Backend`] if the keyring is unavailable: call it again.
    /// - [`Error::BufferLength`] if output is left and `out` is empty.
    /// - An earlier error of [`update`](Self::update).
    pub fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.chunks.finish(out)
    }

    /// Returns whether all of the message was output.
    pub fn is_finished(&self) -> bool {
        self.chunks.is_finished()
    }

    #[cfg(feature = "std")]
    pub(crate) fn into_chunks(self) -> ChunkStream<'k, ChunkEncryptor> {
        self.chunks
    }
}

impl ChunkTransform for ChunkEncryptor {
    const IN_LEN: usize = CHUNK_LEN;
    const OUT_LEN: usize = ENCRYPTED_CHUNK_LEN;

    fn transform(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        threads: Option<&Threads>,
    ) -> (usize, Option<Error>) {
        let encrypted = ChunkEncryptor::check_process(self)
            .and_then(|()| between_buffers::encrypt_into(self, first, input, out, threads));
        match encrypted {
            Ok(()) => (out.len(), None),
            Err(error) => (0, Some(error)),
        }
    }

    fn transform_in_place(&self, index: u64, buffer: &mut WipedBuffer) -> Result<(), Error> {
        let tag = self.encrypt_in_place(index, buffer)?;
        buffer.push_slice(&tag, ENCRYPTED_CHUNK_LEN);
        Ok(())
    }

    fn check_process(&self) -> Result<(), Error> {
        ChunkEncryptor::check_process(self)
    }

    #[cfg(feature = "std")]
    fn is_in_place_only(&self) -> bool {
        ChunkEncryptor::is_in_place_only(self)
    }

    #[cfg(feature = "std")]
    fn transform_at_start(&self, index: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let wrong_length = Error::BufferLength { len: buffer.len(), needed: ENCRYPTED_CHUNK_LEN };
        let encrypted = buffer.get_mut(..ENCRYPTED_CHUNK_LEN);
        let parts = encrypted.and_then(<[u8]>::split_last_chunk_mut);
        let (chunk, tag) = parts.ok_or(wrong_length)?;
        *tag = self.encrypt_in_place(index, chunk)?;
        Ok(ENCRYPTED_CHUNK_LEN)
    }

    #[cfg(feature = "std")]
    fn is_fast(&self) -> bool {
        ChunkEncryptor::is_fast(self)
    }

    fn check_last(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

impl fmt::Debug for StreamEncryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamEncryptor").finish_non_exhaustive()
    }
}
