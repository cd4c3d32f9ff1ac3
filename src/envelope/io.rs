//! Streams of `std` by an envelope.

use super::Envelope;
use crate::aad::Aad;
use crate::error::Error;
use crate::io::open::{copy, copy_plaintext, open_range_reader, open_reader};
use crate::io::{DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use std::io::{Read, Write};

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Returns a writer that encrypts and writes the message to `sink`: the header with the first chunks,
    /// the end with [`EncryptWriter::finish`].
    ///
    /// The length is unknown when the data key is wrapped, so a [`RotationPolicy`](crate::RotationPolicy)
    /// counts the wrap of a stream and none of its bytes.
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

    /// Returns a reader of the message that encrypts the bytes of `source`.
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

    /// Encrypts `source` up to its end, writes the message to `sink`, flushes it, and returns the length of
    /// the plaintext in bytes.
    ///
    /// For sources and sinks that block: `WouldBlock` is an error here, and bytes that were read are lost.
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
    /// Those of [`encrypt`](Self::encrypt) and [`EncryptWriter::finish`]; [`Error::Io`]. Every reader then
    /// refuses the written bytes as truncated.
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
    /// Decrypts the message that goes up to the end of `source`, writes its plaintext to `sink`, flushes it,
    /// and returns the length of the plaintext in bytes.
    ///
    /// `Ok` means that the message is complete. **After an error, discard the written bytes**: they are the
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
    /// For a source that returns `WouldBlock`, collect a [`MessageStart`](crate::stream::MessageStart)
    /// first and continue with [`DecryptReader::from_stream`]. An error of this method loses the bytes
    /// that it has read.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt) for the header and the first 56 bytes of the body;
    /// [`Error::Io`].
    pub fn decrypt_reader<S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        open_reader(source, |start| self.stream_decryptor(start, aad))
    }

    /// Returns a reader of any part of the message in `source`. [`RangeReader::into_seek_reader`] gives it
    /// `Read` and `Seek`.
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
