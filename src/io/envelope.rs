//! The streams of `std` that an envelope makes.

use super::{
    CHUNKS, DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt, SeekReader,
    SeekSource, error::uninterrupted,
};
use crate::aad::Aad;
use crate::body::layout::CHUNK_LEN;
use crate::envelope::{Envelope, WithRng};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::plain_buffer::PlainBuffer;
use crate::stream::MessageStart;
use alloc::vec;
use alloc::vec::Vec;
use rand_core::TryCryptoRng;
use std::io::{self, Read, Seek, Write};

/// Bytes of plaintext that a copy moves at a time.
const COPY_LEN: usize = CHUNKS * CHUNK_LEN;

/// Writes all that `read` gives, up to its end, and answers how much that was.
fn copy(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    sink: &mut impl Write,
) -> io::Result<u64> {
    let mut buffer = PlainBuffer::zeros(COPY_LEN);
    let mut copied = 0_u64;
    loop {
        let len = uninterrupted(|| read(&mut buffer))?;
        let piece = buffer.get(..len).ok_or(io::ErrorKind::InvalidData)?;
        if piece.is_empty() {
            return Ok(copied);
        }
        sink.write_all(piece)?;
        copied = copied.saturating_add(len as u64);
    }
}

/// What is read first: it holds nearly every header.
const FIRST_LEN: usize = 4096;

impl<K: Keyring, R: TryCryptoRng + ?Sized> WithRng<'_, K, R> {
    /// See [`Envelope::encrypt_writer`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_writer<'k, W: Write>(
        &mut self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<EncryptWriter<'k, W>, Error>
    where
        K: 'k,
    {
        let stream = self.stream_encryptor(aad)?;
        Ok(EncryptWriter::new(sink, stream.into_chunks()))
    }

    /// See [`Envelope::encrypt_writer_detached`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_writer_detached<'k, W: Write>(
        &mut self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, EncryptWriter<'k, W>), Error>
    where
        K: 'k,
    {
        let (header, stream) = self.stream_encryptor_detached(aad)?;
        Ok((header, EncryptWriter::new(sink, stream.into_chunks())))
    }

    /// See [`Envelope::encrypt_reader`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_reader<'k, S: Read>(
        &mut self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<EncryptReader<'k, S>, Error>
    where
        K: 'k,
    {
        Ok(EncryptReader::from_stream(source, self.stream_encryptor(aad)?))
    }

    /// See [`Envelope::encrypt_reader_detached`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_reader_detached<'k, S: Read>(
        &mut self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, EncryptReader<'k, S>), Error>
    where
        K: 'k,
    {
        let (header, stream) = self.stream_encryptor_detached(aad)?;
        Ok((header, EncryptReader::from_stream(source, stream)))
    }
}

impl<K: Keyring> Envelope<K> {
    /// Encrypts what is written to the writer that this returns, and writes the message to `sink`:
    /// the header with the first chunks, the end with [`EncryptWriter::finish`].
    ///
    /// The length is not known when the data key is wrapped: for a
    /// [`RotationPolicy`](crate::RotationPolicy) a stream counts as a wrap, and not by its bytes.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_writer<'k, W: Write>(
        &self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<EncryptWriter<'k, W>, Error>
    where
        K: 'k,
    {
        self.with_rng(&mut crate::OsRandom).encrypt_writer(sink, aad)
    }

    /// As [`encrypt_writer`](Self::encrypt_writer), with the header apart.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_writer_detached<'k, W: Write>(
        &self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, EncryptWriter<'k, W>), Error>
    where
        K: 'k,
    {
        self.with_rng(&mut crate::OsRandom).encrypt_writer_detached(sink, aad)
    }

    /// Encrypts what `source` gives: the message is read from the reader that this returns.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_reader<'k, S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<EncryptReader<'k, S>, Error>
    where
        K: 'k,
    {
        self.with_rng(&mut crate::OsRandom).encrypt_reader(source, aad)
    }

    /// As [`encrypt_reader`](Self::encrypt_reader), with the header apart.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_reader_detached<'k, S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, EncryptReader<'k, S>), Error>
    where
        K: 'k,
    {
        self.with_rng(&mut crate::OsRandom).encrypt_reader_detached(source, aad)
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
    /// As [`encrypt`](Self::encrypt) and [`EncryptWriter::finish`]; [`Error::Io`]. What was written is
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

    /// Decrypts the message that goes up to the end of `source` and writes its plaintext to `sink`,
    /// which is flushed at the end. Returns the length of the plaintext in bytes.
    ///
    /// `Ok` says that the message is whole. **After an error, throw away what was written**: it is the
    /// authentic beginning of a plaintext whose end is missing or changed.
    ///
    /// # Errors
    ///
    /// As [`decrypt_reader`](Self::decrypt_reader) and [`DecryptReader::finish`]. `WouldBlock` is an
    /// error here.
    pub fn decrypt_copy<S: Read, W: Write>(
        &self,
        source: S,
        mut sink: W,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        let mut reader = self.decrypt_reader(source, aad)?;
        let copied = copy(|piece| reader.read(piece), &mut sink)?;
        uninterrupted(|| sink.flush())?;
        Ok(copied)
    }

    /// Decrypts a message that goes up to the end of `source`, whose header is read at once.
    ///
    /// For a source that answers `WouldBlock`, gather a [`MessageStart`] first and go on with
    /// [`DecryptReader::from_stream`]: what this has read of a header is lost with its error.
    ///
    /// # Errors
    ///
    /// As [`decrypt`](Self::decrypt) for all that the header and the body's first 56 bytes tell;
    /// [`Error::Io`].
    pub fn decrypt_reader<S: Read>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        self.decrypt_behind(MessageStart::new(), source, aad)
    }

    /// As [`decrypt_reader`](Self::decrypt_reader), of a body whose header is kept apart.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::DetachedHeaderLength`].
    pub fn decrypt_reader_detached<S: Read>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        self.decrypt_behind(MessageStart::detached(header)?, source, aad)
    }

    fn decrypt_behind<S: Read>(
        &self,
        mut start: MessageStart,
        mut source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        let mut buffer = vec![0; FIRST_LEN];
        let (mut taken, mut len) = (0, 0);
        while taken == len && start.missing() > 0 {
            len = uninterrupted(|| source.read(&mut buffer))?.min(FIRST_LEN);
            if len == 0 {
                break;
            }
            taken = start.update(buffer.get(..len).unwrap_or_default())?;
        }
        let stream = self.stream_decryptor(&start, aad)?;
        let ahead = buffer.get(taken..len).unwrap_or_default();
        Ok(DecryptReader::new(source, stream, ahead))
    }

    /// Decrypts any part of a message in `source`, without the rest.
    ///
    /// # Errors
    ///
    /// As [`decrypt_reader`](Self::decrypt_reader).
    pub fn range_reader<S: ReadAt>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        self.ranges_behind(MessageStart::new(), source, aad)
    }

    /// As [`range_reader`](Self::range_reader), of a body whose header is kept apart.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::DetachedHeaderLength`].
    pub fn range_reader_detached<S: ReadAt>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        self.ranges_behind(MessageStart::detached(header)?, source, aad)
    }

    fn ranges_behind<S: ReadAt>(
        &self,
        mut start: MessageStart,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        let len = source.size()?;
        let mut buffer = vec![0; FIRST_LEN];
        let mut offset = 0_u64;
        while start.missing() > 0 {
            let wanted = start.missing().min(FIRST_LEN);
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            let read = uninterrupted(|| source.read_at(room, offset))?.min(wanted);
            if read == 0 {
                break;
            }
            start.update(room.get(..read).unwrap_or_default())?;
            offset = offset.saturating_add(read as u64);
        }
        Ok(RangeReader::from_decryptor(source, self.range_decryptor(&start, len, aad)?))
    }

    /// Decrypts a message in `source`, which begins at its first byte, as something to be read
    /// from and sought in.
    ///
    /// # Errors
    ///
    /// As [`decrypt_reader`](Self::decrypt_reader).
    pub fn seek_reader<S: Read + Seek>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<SeekReader<SeekSource<S>>, Error> {
        Ok(self.range_reader(SeekSource::new(source), aad)?.into_seek_reader())
    }
}
