//! The asynchronous streams that an envelope makes.

use super::super::open::{PrefixReader, StartReader};
use super::poll_io::PollIo;
use super::{AsyncDecryptReader, AsyncEncryptWriter};
use crate::aad::Aad;
use crate::envelope::{Envelope, OpenedKey};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::random::RandomSource;
use crate::stream::{MessageStart, StreamDecryptor};
use core::future::poll_fn;
use std::io::Read;
use tokio::io::{AsyncRead, AsyncWrite};

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Encrypts what is written to the writer that this returns, and writes the message to `sink`.
    ///
    /// Asks the keyring at once, on this thread: for one that blocks see
    /// [`AsyncEncryptWriter::from_stream`].
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_async_writer<'k, W: AsyncWrite + Unpin>(
        &self,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<AsyncEncryptWriter<'k, W>, Error>
    where
        K: 'k,
    {
        Ok(AsyncEncryptWriter::from_stream(sink, self.stream_encryptor(aad)?))
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Decrypts a message that goes up to the end of `source`, whose header is read first.
    ///
    /// Then asks the keyring, on the polling thread: for one that blocks see
    /// [`AsyncDecryptReader::from_stream`]. Dropping the future loses what it has read of the source.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt) for all that the header and the body's first 56 bytes tell;
    /// [`Error::Io`].
    pub async fn decrypt_async_reader<S: AsyncRead + Unpin>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<AsyncDecryptReader<S>, Error> {
        open_reader(source, |start| self.stream_decryptor(start, aad)).await
    }
}

impl OpenedKey {
    /// Decrypts a body that goes up to the end of `source`, whose first 56 bytes are read first.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt); [`Error::Io`].
    pub async fn decrypt_async_reader<S: AsyncRead + Unpin>(
        &self,
        mut source: S,
        aad: Aad<'_>,
    ) -> Result<AsyncDecryptReader<S>, Error> {
        let mut reader = PrefixReader::new();
        let read = |source: &mut PollIo<'_, '_, S>| Ok(reader.read(|room, _| source.read(room))?);
        let mut read = read;
        let prefix = poll_fn(|cx| PollIo::poll(&mut source, cx, &mut read)).await?;
        Ok(AsyncDecryptReader::from_stream(source, self.key().stream_decryptor(&prefix, aad)?))
    }
}

/// Reads the start of a message and opens a reader of the chunks behind it.
async fn open_reader<S: AsyncRead + Unpin>(
    mut source: S,
    open: impl FnOnce(&MessageStart) -> Result<StreamDecryptor, Error>,
) -> Result<AsyncDecryptReader<S>, Error> {
    let mut reader = StartReader::new();
    poll_fn(|cx| PollIo::poll(&mut source, cx, |source| Ok(reader.read(source)?))).await?;
    let stream = open(reader.start())?;
    Ok(AsyncDecryptReader::behind(source, stream, reader.ahead()))
}
