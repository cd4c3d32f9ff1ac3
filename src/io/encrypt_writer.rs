//! A writer that encrypts.

use super::chunk_writer::ChunkWriter;
use crate::error::Error;
use crate::stream::StreamEncryptor;
use core::fmt;
use std::io::{self, Write};

/// Encrypts plaintext and writes the message to a sink; created by
/// [`Envelope::encrypt_writer`](crate::Envelope::encrypt_writer).
///
/// **Call [`finish`](Self::finish).** A writer that is dropped earlier, on an error or a panic,
/// leaves a message that every reader refuses as truncated; `drop` does not finish it on purpose. An
/// observer ([`Envelope::with_observer`](crate::Envelope::with_observer)) reports such a drop, and
/// [`Envelope::encrypt_copy`](crate::Envelope::encrypt_copy) cannot forget the call.
///
/// Writes four chunks at a time, and sixteen after the first mebibyte. If several threads share the work
/// ([`Envelope::with_threads`](crate::Envelope::with_threads)), it buffers half a mebibyte for each. `flush` writes all whole chunks
/// and never ends a chunk: up to 16,383 bytes stay in the writer. A `BufWriter` on either side gains
/// nothing.
///
/// # Errors
///
/// An error of the sink is returned again by every later call, except `WouldBlock` and `TimedOut`, after
/// which the same call can be repeated and nothing is lost. `Interrupted` is handled here. In a child of
/// `fork` every call fails with [`Error::Forked`] inside: nothing is encrypted or written there, and the
/// parent continues.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring};
/// use std::io::{Read, Write};
///
/// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
/// let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none())?;
/// writer.write_all(b"four score")?;
/// let message = writer.finish()?;
///
/// let mut plaintext = String::new();
/// envelope.decrypt_reader(&message[..], Aad::none())?.read_to_string(&mut plaintext)?;
/// assert_eq!(plaintext, "four score");
/// # Ok(())
/// # }
/// ```
#[must_use = "a message is complete only after `finish`"]
pub struct EncryptWriter<'k, W> {
    sink: W,
    chunks: ChunkWriter<'k>,
}

impl<'k, W: Write> EncryptWriter<'k, W> {
    /// Writes the output of `stream`, which has output nothing but its
    /// [header](StreamEncryptor::take_header). The threads of the envelope share the work.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        EncryptWriter { sink, chunks: ChunkWriter::new(stream.into_chunks()) }
    }

    /// Returns the sink, which lags behind the plaintext that was written here.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Ends the message, writes the rest of it, flushes the sink and returns it.
    ///
    /// # Errors
    ///
    /// - [`Error::StreamRefused`] if a version in the header was disabled, compromised or destroyed
    ///   meanwhile: encrypt the message again.
    /// - [`Error::Backend`] if the keyring is unavailable; [`try_finish`](Self::try_finish) can be
    ///   called again.
    /// - [`Error::Io`], which only [`try_finish`](Self::try_finish) can retry.
    pub fn finish(mut self) -> Result<W, Error> {
        self.try_finish()?;
        Ok(self.sink)
    }

    /// Ends the message as [`finish`](Self::finish) does, for a sink that does not wait: after
    /// `WouldBlock`, call it again. Nothing more can be written.
    ///
    /// # Errors
    ///
    /// [`Error::StreamRefused`] if a version in the header was disabled, compromised or destroyed
    /// meanwhile; [`Error::Backend`] if the keyring is unavailable; [`Error::Io`].
    pub fn try_finish(&mut self) -> Result<(), Error> {
        Ok(self.chunks.finish(&mut self.sink, Write::flush)?)
    }
}

impl<W: Write> Write for EncryptWriter<'_, W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.chunks.write(&mut self.sink, plaintext)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.chunks.flush(&mut self.sink)
    }
}

impl<W> fmt::Debug for EncryptWriter<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").finish_non_exhaustive()
    }
}
