//! A message from a reader, as plaintext.

use super::chunk_reader::ChunkReader;
use crate::body::ChunkDecryptor;
use crate::error::Error;
use crate::stream::StreamDecryptor;
use core::fmt;
use std::io::{self, BufRead, Read};

/// Reads a message and gives out its plaintext; made by
/// [`Envelope::decrypt_reader`](crate::Envelope::decrypt_reader).
///
/// Every byte that is read was verified. `Ok(0)`, the end, is answered only once the last chunk was
/// verified and the source has nothing behind it: **what was read before that is the authentic
/// beginning of a message whose end may be missing.** [`finish`](Self::finish) makes sure of the
/// end; call it where you do not read up to `Ok(0)`, and act on what you read only in ways that can
/// be taken back until then.
///
/// # Errors
///
/// An error of the message, for ever: `Error::from(io_error)` gives the exact one. It is of kind
/// `UnexpectedEof` where the message is surely cut off: at the end of a chunk, or within its first
/// 15 bytes. Otherwise it is of kind `InvalidData`: what is cut within a chunk cannot be told from what
/// is changed there, and [`Unverified::End`](crate::Unverified::End) says so. An error of the source, with
/// its kind, text and number, for ever; but `WouldBlock` and `TimedOut` only say "not yet" and lose nothing.
/// `Interrupted` is not passed on.
///
/// Needs no `BufReader` on either side.
#[must_use = "a message is known to be whole only at its end: read up to it, or call `finish`"]
pub struct DecryptReader<R> {
    source: R,
    chunks: ChunkReader<'static, ChunkDecryptor>,
}

impl<R: Read> DecryptReader<R> {
    /// Decrypts what `source` gives from here on by `stream`, of which `source` has the rest: where
    /// the start of the message was read before, or comes from elsewhere.
    pub fn from_stream(source: R, stream: StreamDecryptor) -> Self {
        DecryptReader::new(source, stream, &[])
    }

    pub(super) fn new(source: R, stream: StreamDecryptor, ahead: &[u8]) -> Self {
        DecryptReader { source, chunks: ChunkReader::new(stream.into_chunks(), ahead) }
    }

    /// The source, which is read ahead of what was given out.
    pub fn get_ref(&self) -> &R {
        &self.source
    }

    /// Reads and drops what was not read yet, makes sure that the message is whole, and gives the
    /// source back.
    ///
    /// # Errors
    ///
    /// As reading does: [`Error::Truncated`], [`Error::Authentication`], [`Error::Io`].
    pub fn finish(mut self) -> Result<R, Error> {
        self.try_finish()?;
        Ok(self.source)
    }

    /// As [`finish`](Self::finish), for sources that do not wait: after `WouldBlock`, call it again.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_finish(&mut self) -> Result<(), Error> {
        Ok(self.chunks.finish(&mut self.source)?)
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.chunks.read(&mut self.source, out)
    }
}

impl<R: Read> BufRead for DecryptReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.chunks.fill(&mut self.source)
    }

    fn consume(&mut self, len: usize) {
        self.chunks.consume(len);
    }
}

impl<R> fmt::Debug for DecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptReader").finish_non_exhaustive()
    }
}
