//! A reader that decrypts.

use super::chunk_reader::ChunkReader;
use crate::body::ChunkDecryptor;
use crate::error::Error;
use crate::stream::StreamDecryptor;
use core::fmt;
use std::io::{self, BufRead, Read};

/// Reads a message and returns its plaintext; created by
/// [`Envelope::decrypt_reader`](crate::Envelope::decrypt_reader).
///
/// Every byte that is read is verified. A read returns `Ok(0)` only after the last chunk was verified and
/// the source has ended. **Until then the bytes are the authentic beginning of a message whose end may
/// be missing**: act on them only in ways that can be undone. A caller that does not read up to `Ok(0)`
/// calls [`finish`](Self::finish), which verifies the end. A `BufReader` on either side gains nothing.
///
/// # Errors
///
/// Every later call returns the same error again, except after `WouldBlock` and `TimedOut` of the
/// source: the same call can be repeated and nothing is lost. `Interrupted` is handled here.
///
/// `Error::from(io_error)` returns the exact error. An error of the message has the kind
/// `UnexpectedEof` if the message is certainly cut off: at the end of a chunk, or within its first 15
/// bytes. Otherwise the kind is `InvalidData`: a cut within a chunk cannot be distinguished from a
/// change there ([`Unverified::End`](crate::Unverified::End)). An error of the source keeps its kind,
/// text and number.
#[must_use = "the end of a message is verified only by a read that returns 0, or by `finish`"]
pub struct DecryptReader<R> {
    source: R,
    chunks: ChunkReader<'static, ChunkDecryptor>,
}

impl<R: Read> DecryptReader<R> {
    /// Decrypts by `stream` the chunks that follow in `source`: for a message whose start was read
    /// before or is stored apart.
    pub fn from_stream(source: R, stream: StreamDecryptor) -> Self {
        DecryptReader::new(source, stream, &[])
    }

    pub(crate) fn new(source: R, stream: StreamDecryptor, ahead: &[u8]) -> Self {
        DecryptReader { source, chunks: ChunkReader::new(stream.into_chunks(), ahead) }
    }

    /// Returns the source, which is read ahead of the returned bytes.
    pub fn get_ref(&self) -> &R {
        &self.source
    }

    /// Reads and drops the rest, verifies the end of the message, and returns the source.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] or [`Error::Authentication`] if the message does not verify; [`Error::Io`].
    pub fn finish(mut self) -> Result<R, Error> {
        self.try_finish()?;
        Ok(self.source)
    }

    /// Verifies the end as [`finish`](Self::finish) does, for a source that does not wait: after
    /// `WouldBlock`, call it again.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] or [`Error::Authentication`] if the message does not verify; [`Error::Io`].
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
