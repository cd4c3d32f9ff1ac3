//! The streams of `std` that an envelope makes.

use super::Envelope;
use crate::aad::Aad;
use crate::error::Error;
use crate::io::open::{copy, copy_plaintext, open_range_reader, open_reader};
use crate::io::{DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use std::io::{Read, Write};

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Encrypts what is written to the writer that this returns, and writes the message to `sink`:
    /// the header with the first chunks, the end with [`EncryptWriter::finish`].
    ///
    /// The length is not known when the data key is wrapped: for a
    /// [`RotationPolicy`](crate::RotationPolicy) a stream counts as a wrap, and not by its bytes.
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_writer<'k, W: Write>(
        &self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<EncryptWriter<'k, W>, Error>
    where
        K: 'k,
    {
        Ok(EncryptWriter::from_stream(sink, self.stream_encryptor(aad)?))
    }

    /// Encrypts what `source` gives: the message is read from the reader that this returns.
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_reader<'k, S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<EncryptReader<'k, S>, Error>
    where
        K: 'k,
    {
        Ok(EncryptReader::from_stream(source, self.stream_encryptor(aad)?))
    }

    /// Encrypts all that `source` gives and writes the whole message to `sink`, which is flushed at
    /// the end. Returns the length of the plaintext in bytes.
    ///
    /// For sources and sinks that wait: `WouldBlock` is an error here, and what was read is lost.
    ///
    /// ```
    /// # fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
    /// let (mut message, mut plaintext) = (Vec::new(), Vec::new());
    /// assert_eq!(envelope.encrypt_copy(&b"four score"[..], &mut message, Aad::none())?, 10);
    /// assert_eq!(envelope.decrypt_copy(&message[..], &mut plaintext, Aad::none())?, 10);
    /// assert_eq!(plaintext, b"four score");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt) and [`EncryptWriter::finish`]; [`Error::Io`]. What was written is
    /// then no message: every reader refuses it.
    pub fn encrypt_copy<S: Read, W: Write>(
        &self,
        mut source: S,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        let mut writer = self.encrypt_writer(sink, aad)?;
        let copied = copy(|piece| source.read(piece), &mut writer)?;
        writer.finish()?;
        Ok(copied)
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Decrypts the message that goes up to the end of `source` and writes its plaintext to `sink`,
    /// which is flushed at the end. Returns the length of the plaintext in bytes.
    ///
    /// `Ok` says that the message is whole. **After an error, throw away what was written**: it is the
    /// authentic beginning of a plaintext whose end is missing or changed.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt_reader`](Self::decrypt_reader) and [`DecryptReader::finish`]. `WouldBlock` is an
    /// error here.
    pub fn decrypt_copy<S: Read, W: Write>(
        &self,
        source: S,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        copy_plaintext(self.decrypt_reader(source, aad)?, sink)
    }

    /// Decrypts a message that goes up to the end of `source`, whose header is read at once.
    ///
    /// For a source that returns `WouldBlock`, gather a [`MessageStart`](crate::stream::MessageStart)
    /// first and go on with [`DecryptReader::from_stream`]: what this has read of a header is lost with
    /// its error.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt) for all that the header and the body's first 56 bytes tell;
    /// [`Error::Io`].
    pub fn decrypt_reader<S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        open_reader(source, |start| self.stream_decryptor(start, aad))
    }

    /// Decrypts any part of a message in `source`, without the rest. For `Read` and `Seek` see
    /// [`RangeReader::into_seek_reader`].
    ///
    /// # Errors
    ///
    /// Those of [`decrypt_reader`](Self::decrypt_reader).
    pub fn range_reader<S: ReadAt>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        open_range_reader(source, |start, len| self.range_decryptor(start, len, aad))
    }
}
