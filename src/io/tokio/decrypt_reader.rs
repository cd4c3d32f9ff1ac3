//! A message from an asynchronous reader, as plaintext.

use super::super::batch::CHUNKS;
use super::super::chunk_reader::ChunkReader;
use super::poll_io::PollIo;
use super::{CoopBudget, POLL_LEN};
use crate::body::ChunkDecryptor;
use crate::error::Error;
use crate::stream::StreamDecryptor;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use tokio::io::{AsyncRead, ReadBuf};

/// Reads a message and gives out its plaintext, asynchronously; made by
/// [`Envelope::decrypt_async_reader`](crate::Envelope::decrypt_async_reader), or by
/// [`from_stream`](Self::from_stream).
///
/// Every byte that is read was verified. The end, a read of nothing, is answered only once the last
/// chunk was verified and the source has nothing behind it: **what was read before that is the
/// authentic beginning of a message whose end may be missing.** [`finish`](Self::finish) makes sure
/// of the end; call it where you do not read up to it, and act on what you read only in ways that
/// can be taken back until then.
///
/// Never blocks. A poll decrypts 64 KiB and a chunk at most, on the polling thread, and after
/// 128 KiB in a row other tasks have their turn. Dropping a future of `read` between polls loses
/// nothing.
///
/// # Errors
///
/// As [`DecryptReader`](crate::stream::DecryptReader): an error of the message or the source is told for
/// ever, and `Error::from(io_error)` gives the exact one.
///
/// For `AsyncBufRead`, wrap it in tokio's `BufReader`; otherwise it needs none on either side.
#[must_use = "a message is known to be whole only at its end: read up to it, or call `finish`"]
pub struct AsyncDecryptReader<R> {
    source: R,
    chunks: ChunkReader<'static, ChunkDecryptor>,
    budget: CoopBudget,
}

impl<R: AsyncRead + Unpin> AsyncDecryptReader<R> {
    /// Reads the chunks of a message from `source`, which stands behind the
    /// [`MessageStart`](crate::stream::MessageStart) that `stream` was made from: for a header that is kept
    /// apart, and for keyrings that block, which can make the stream on a thread for that.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use envelock::{Aad, Envelope, MemoryKeyring, stream::{AsyncDecryptReader, MessageStart}};
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
    /// let stream = spawn_blocking(move || envelope.stream_decryptor(&start, Aad::none())).await??;
    /// let mut plaintext = Vec::new();
    /// AsyncDecryptReader::from_stream(source, stream).read_to_end(&mut plaintext).await?;
    /// assert_eq!(plaintext, b"four score");
    /// # Ok(()) })
    /// # }
    /// ```
    pub fn from_stream(source: R, stream: StreamDecryptor) -> Self {
        AsyncDecryptReader::behind(source, stream, &[])
    }

    /// Goes on behind what was read `ahead` of the chunks.
    pub(super) fn behind(source: R, stream: StreamDecryptor, ahead: &[u8]) -> Self {
        let chunks = ChunkReader::new(stream.into_chunks().on_one_thread(), ahead);
        let chunks = chunks.with_long_chunks(CHUNKS);
        AsyncDecryptReader { source, chunks, budget: CoopBudget::default() }
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
