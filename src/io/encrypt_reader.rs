//! A reader that encrypts.

use super::chunk_reader::ChunkReader;
use crate::body::ChunkEncryptor;
use crate::stream::StreamEncryptor;
use core::fmt;
use std::io::{self, BufRead, Read};

/// Reads plaintext from a source and returns the message, for an API that takes a reader, such as an
/// upload; created by [`Envelope::encrypt_reader`](crate::Envelope::encrypt_reader).
///
/// The message is complete once a read has returned `Ok(0)`; every reader refuses a shorter one as
/// truncated. A `BufReader` on either side gains nothing.
///
/// # Errors
///
/// At the end of the plaintext, [`Error::StreamRefused`](crate::Error::StreamRefused) inside if a
/// version in the header was disabled, compromised or destroyed meanwhile. An error of the source is
/// returned again by every later call, except `WouldBlock` and `TimedOut`, after which the same call can
/// be repeated and nothing is lost. `Interrupted` is handled here. In a child of `fork` every call fails
/// with [`Error::Forked`](crate::Error::Forked) inside, and the parent continues.
#[must_use = "a message is complete only if it is read up to its end"]
pub struct EncryptReader<'k, R> {
    source: R,
    chunks: ChunkReader<'k, ChunkEncryptor>,
}

impl<'k, R: Read> EncryptReader<'k, R> {
    /// Encrypts the bytes of `source` by `stream`.
    pub fn from_stream(source: R, stream: StreamEncryptor<'k>) -> Self {
        EncryptReader { source, chunks: ChunkReader::new(stream.into_chunks(), &[]) }
    }

    /// Returns the source, which is read ahead of the returned bytes.
    pub fn get_ref(&self) -> &R {
        &self.source
    }
}

impl<R: Read> Read for EncryptReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.chunks.read(&mut self.source, out)
    }
}

impl<R: Read> BufRead for EncryptReader<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.chunks.fill(&mut self.source)
    }

    fn consume(&mut self, len: usize) {
        self.chunks.consume(len);
    }
}

impl<R> fmt::Debug for EncryptReader<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptReader").finish_non_exhaustive()
    }
}
