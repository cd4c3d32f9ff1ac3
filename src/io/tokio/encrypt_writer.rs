//! Plaintext to an asynchronous writer, as a message.

use super::super::chunk_writer::ChunkWriter;
use super::poll_io::PollIo;
use super::{CoopBudget, POLL_LEN};
use crate::error::Error;
use crate::stream::StreamEncryptor;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, Write};
use tokio::io::AsyncWrite;

/// Encrypts what is written to it and writes the message to an asynchronous sink; made by
/// [`Envelope::encrypt_async_writer`](crate::Envelope::encrypt_async_writer), or by
/// [`from_stream`](Self::from_stream).
///
/// **Call [`finish`](Self::finish), or shut it down.** A writer that is dropped before, as when its
/// task is cancelled, leaves a message that every reader refuses as truncated.
///
/// Both end the message and then shut the sink down; `finish` gives it back. From the first poll of
/// either on nothing more can be written. Flushing hands on what is whole, and never ends a chunk: up to 16,383
/// bytes stay behind.
///
/// Never blocks. A poll encrypts 64 KiB at most, on the polling thread, and after 128 KiB in a row
/// other tasks have their turn. Dropping a future of `write`, `flush` or `shutdown` between polls
/// loses nothing: what was not answered was not taken.
///
/// # Errors
///
/// As [`EncryptWriter`](crate::stream::EncryptWriter), [`Error::Forked`] too: an error of the sink is passed on, and every later
/// call fails with it again.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use envelock::{Aad, Envelope, MemoryKeyring};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
/// let mut writer = envelope.encrypt_async_writer(Vec::new(), Aad::none())?;
/// writer.write_all(b"four score").await?;
/// let message = writer.finish().await?;
///
/// let mut plaintext = String::new();
/// let mut reader = envelope.decrypt_async_reader(&message[..], Aad::none()).await?;
/// reader.read_to_string(&mut plaintext).await?;
/// assert_eq!(plaintext, "four score");
/// # Ok(()) })
/// # }
/// ```
#[must_use = "a message is whole only once `finish` was awaited or the writer shut down"]
pub struct AsyncEncryptWriter<'k, W> {
    sink: W,
    chunks: ChunkWriter<'k>,
    is_shut_down: bool,
    budget: CoopBudget,
}

impl<'k, W: AsyncWrite + Unpin> AsyncEncryptWriter<'k, W> {
    /// Writes what `stream` makes to `sink`: for a header that is kept apart, and for keyrings that
    /// block, which can make the stream on a thread for that.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        let chunks = ChunkWriter::new(stream.into_chunks().on_one_thread()).eager();
        AsyncEncryptWriter { sink, chunks, is_shut_down: false, budget: CoopBudget::default() }
    }

    /// The sink, which lags behind what was written here.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Ends the message, writes the rest of it, shuts the sink down and gives it back. Dropping the
    /// future leaves the message unfinished.
    ///
    /// A sink may store nothing before it is shut down: `object_store`'s `BufWriter`, for one, uploads
    /// only then. For a sink that something else is to follow on, such as a connection, see
    /// [`finish_without_shutdown`](Self::finish_without_shutdown).
    ///
    /// # Errors
    ///
    /// [`Error::StreamRefused`], [`Error::Backend`] as
    /// [`EncryptWriter::finish`](crate::stream::EncryptWriter::finish), on the polling thread, of the
    /// keyring's [`freshness`](crate::Keyring::freshness) alone; [`Error::Io`].
    pub async fn finish(mut self) -> Result<W, Error> {
        poll_fn(|cx| self.poll_shutdown_once(cx)).await?;
        Ok(self.sink)
    }

    /// Ends the message, writes the rest of it, flushes the sink and gives it back open: for what
    /// follows the message there. **A sink that stores only at its shutdown has stored nothing yet.**
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub async fn finish_without_shutdown(mut self) -> Result<W, Error> {
        poll_fn(|cx| self.poll(cx, |chunks, sink| chunks.finish(sink, Write::flush))).await?;
        Ok(self.sink)
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut ChunkWriter<'k>, &mut PollIo<'_, '_, W>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let chunks = &mut self.chunks;
        let polled = PollIo::poll(&mut self.sink, cx, |sink| step(chunks, sink));
        if polled.is_pending() {
            self.budget = CoopBudget::default();
        }
        polled
    }

    fn poll_shutdown_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut_down {
            return Poll::Ready(Ok(()));
        }
        let polled = self.poll(cx, |chunks, sink| chunks.finish(sink, PollIo::shutdown));
        self.is_shut_down = matches!(polled, Poll::Ready(Ok(())));
        polled
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for AsyncEncryptWriter<'_, W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Poll<io::Result<usize>> {
        let AsyncEncryptWriter { sink, chunks, budget, .. } = self.get_mut();
        let piece = plaintext.get(..POLL_LEN).unwrap_or(plaintext);
        budget.poll(cx, |cx| PollIo::poll(sink, cx, |sink| chunks.write(sink, piece)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, |chunks, sink| chunks.flush(sink))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_shutdown_once(cx)
    }
}

impl<W> fmt::Debug for AsyncEncryptWriter<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncEncryptWriter").finish_non_exhaustive()
    }
}
