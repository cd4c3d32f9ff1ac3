//! Plaintext from a reader, as a message.

use super::chunk_reader::ChunkReader;
use crate::body::ChunkEncryptor;
use crate::stream::StreamEncryptor;
use core::fmt;
use std::io::{self, BufRead, Read};

/// Reads plaintext and gives out the message, for whoever takes a reader: an upload, a compressor.
/// Made by [`Envelope::encrypt_reader`](crate::Envelope::encrypt_reader).
///
/// The message is whole once `Ok(0)` was answered; what was read before that is refused by every
/// reader as truncated. If a version that it is wrapped under was disabled, compromised or destroyed
/// meanwhile, the end is [`Error::StreamRefused`](crate::Error::StreamRefused) within. Errors of the source are passed on, for ever; but `WouldBlock` and
/// `TimedOut` only say "not yet" and lose nothing, and `Interrupted` is not passed on.
///
/// In a child of `fork` it fails for ever with [`Error::Forked`](crate::Error::Forked) within, before it
/// reads or encrypts, and the parent goes on.
///
/// Needs no `BufReader` on either side.
#[must_use = "a message is whole only when it was read up to its end"]
pub struct EncryptReader<'k, R> {
    source: R,
    chunks: ChunkReader<'k, ChunkEncryptor>,
}

impl<'k, R: Read> EncryptReader<'k, R> {
    /// Gives out what `stream` makes of the source.
    pub fn from_stream(source: R, stream: StreamEncryptor<'k>) -> Self {
        EncryptReader { source, chunks: ChunkReader::new(stream.into_chunks(), &[]) }
    }

    /// The source, which is read ahead of what was given out.
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
