//! An asynchronous reader that decrypts.

use super::super::batch::CHUNKS;
use super::super::chunk_reader::ChunkReader;
use super::super::open::{PrefixReader, StartReader};
use super::poll_io::PollIo;
use super::{CoopBudget, POLL_LEN};
use crate::aad::Aad;
use crate::body::ChunkDecryptor;
use crate::envelope::{Envelope, OpenedKey};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::stream::StreamDecryptor;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, Read};
use tokio::io::{AsyncRead, ReadBuf};

/// Reads a message and returns its plaintext, asynchronously (feature `tokio`); created by
/// [`open`](Self::open), [`with_key`](Self::with_key) or [`from_stream`](Self::from_stream).
///
/// Every byte that is read is verified. A read of 0 bytes, the end, comes only after the last chunk was
/// verified and the source has ended. **Until then the bytes are the authentic beginning of a message
/// whose end may be missing**: act on them only in ways that can be undone. A caller that does not read
/// up to the end calls [`finish`](Self::finish), which verifies it.
///
/// Never blocks. A poll decrypts at most 64 KiB and a chunk, on the polling thread, and yields to other
/// tasks after 128 KiB. Dropping a future of `read` between polls loses nothing. For `AsyncBufRead`,
/// wrap it in tokio's `BufReader`, which gains nothing otherwise.
///
/// # Errors
///
/// Those of [`DecryptReader`](crate::stream::DecryptReader): every later call returns the same error
/// again, and `Error::from(io_error)` returns the exact one.
#[must_use = "the end of a message is verified only by a read of 0 bytes, or by `finish`"]
pub struct AsyncDecryptReader<R> {
    source: R,
    chunks: ChunkReader<'static, ChunkDecryptor>,
    budget: CoopBudget,
}

impl<R: AsyncRead + Unpin> AsyncDecryptReader<R> {
    /// Decrypts a message that goes up to the end of `source`, whose header is read first.
    ///
    /// Then calls the keyring of `envelope`, on the polling thread. For a keyring that blocks see
    /// [`from_stream`](Self::from_stream). Dropping the future loses the bytes that it has read.
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::decrypt`] for the header and the first 56 bytes of the body;
    /// [`Error::Io`].
    pub async fn open<K: Keyring, G>(
        envelope: &Envelope<K, G>,
        mut source: R,
        aad: Aad<'_>,
    ) -> Result<Self, Error> {
        let mut reader = StartReader::new();
        poll_fn(|cx| PollIo::poll(&mut source, cx, |source| Ok(reader.read(source)?))).await?;
        let stream = envelope.stream_decryptor(reader.start(), aad)?;
        Ok(AsyncDecryptReader::behind(source, stream, reader.ahead()))
    }

    /// Decrypts a body that goes up to the end of `source`, whose first 56 bytes are read first. Calls no
    /// keyring.
    ///
    /// # Errors
    ///
    /// Those of [`OpenedKey::decrypt`]; [`Error::Io`].
    pub async fn with_key(key: &OpenedKey, mut source: R, aad: Aad<'_>) -> Result<Self, Error> {
        let mut reader = PrefixReader::new();
        let prefix = poll_fn(|cx| {
            PollIo::poll(&mut source, cx, |source| Ok(reader.read(|room, _| source.read(room))?))
        });
        let stream = key.key().stream_decryptor(&prefix.await?, aad)?;
        Ok(AsyncDecryptReader::from_stream(source, stream))
    }

    /// Decrypts by `stream` the chunks that follow in `source` behind the
    /// [`MessageStart`](crate::stream::MessageStart): for a header that is stored apart, and for a keyring
    /// that blocks, which can create the stream on a thread for blocking calls.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use envelock::stream::{AsyncDecryptReader, MessageStart, StreamDecryptor};
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    /// use tokio::{io::AsyncReadExt, task::spawn_blocking};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
    /// # let message = envelope.encrypt(b"four score", Aad::none())?;
    /// # let mut source = &message[..];
    /// let mut start = MessageStart::new();
    /// let mut piece = Vec::new();
    /// while start.missing() > 0 {
    ///     piece.resize(start.missing(), 0);
    ///     source.read_exact(&mut piece).await?;
    ///     start.update(&piece)?;
    /// }
    /// let open = move || StreamDecryptor::open(&envelope, &start, Aad::none());
    /// let stream = spawn_blocking(open).await??;
    /// let mut plaintext = Vec::new();
    /// AsyncDecryptReader::from_stream(source, stream).read_to_end(&mut plaintext).await?;
    /// assert_eq!(plaintext, b"four score");
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn from_stream(source: R, stream: StreamDecryptor) -> Self {
        AsyncDecryptReader::behind(source, stream, &[])
    }

    /// Continues behind the bytes of the body that were read `ahead`.
    pub(super) fn behind(source: R, stream: StreamDecryptor, ahead: &[u8]) -> Self {
        let chunks = ChunkReader::new(stream.into_chunks().on_one_thread(), ahead);
        let chunks = chunks.with_long_chunks(CHUNKS);
        AsyncDecryptReader { source, chunks, budget: CoopBudget::default() }
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
    pub async fn finish(mut self) -> Result<R, Error> {
        let rest = |chunks: &mut ChunkReader<'_, _>, source: &mut PollIo<'_, '_, R>| {
            let len = chunks.fill(source)?.len();
            chunks.consume(len);
            Ok(len)
        };
        while poll_fn(|cx| self.poll(cx, rest)).await? > 0 {}
        Ok(self.source)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(
            &mut ChunkReader<'static, ChunkDecryptor>,
            &mut PollIo<'_, '_, R>,
        ) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (source, chunks) = (&mut self.source, &mut self.chunks);
        self.budget.poll(cx, |cx| PollIo::poll(source, cx, |source| step(chunks, source)))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for AsyncDecryptReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(POLL_LEN);
        let out = buffer.initialize_unfilled_to(room);
        let len = ready!(self.get_mut().poll(cx, |chunks, source| chunks.read(source, out)))?;
        buffer.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<R> fmt::Debug for AsyncDecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDecryptReader").finish_non_exhaustive()
    }
}
