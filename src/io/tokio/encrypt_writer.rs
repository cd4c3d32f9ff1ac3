//! An asynchronous writer that encrypts.

use super::super::chunk_writer::ChunkWriter;
use super::poll_io::PollIo;
use super::{CoopBudget, POLL_LEN};
use crate::aad::Aad;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::random::RandomSource;
use crate::stream::StreamEncryptor;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, Write};
use tokio::io::AsyncWrite;

/// Encrypts plaintext and writes the message to an asynchronous sink (feature `tokio`); created by
/// [`new`](Self::new) or [`from_stream`](Self::from_stream).
///
/// **Call [`finish`](Self::finish), or shut it down.** A writer that is dropped earlier, as when its
/// task is cancelled, leaves a message that every reader refuses as truncated.
///
/// Both end the message and then shut the sink down; `finish` returns it. After the first poll of either
/// nothing more can be written. A flush writes all whole chunks and never ends a chunk: up to 16,383
/// bytes stay in the writer.
///
/// Never blocks. A poll encrypts at most 64 KiB, on the polling thread, and yields to other tasks after
/// 128 KiB. Dropping a future of `write`, `flush` or `shutdown` between polls loses nothing: a write that
/// has not completed has taken no bytes.
///
/// # Errors
///
/// Those of [`EncryptWriter`](crate::stream::EncryptWriter): an error of the sink is returned again by
/// every later call, and a child of `fork` gets [`Error::Forked`] inside.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use envelock::stream::{AsyncDecryptReader, AsyncEncryptWriter};
/// use envelock::{Aad, Envelope, MemoryKeyring};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
/// let mut writer = AsyncEncryptWriter::new(&envelope, Vec::new(), Aad::none())?;
/// writer.write_all(b"four score").await?;
/// let message = writer.finish().await?;
///
/// let mut plaintext = String::new();
/// let mut reader = AsyncDecryptReader::open(&envelope, &message[..], Aad::none()).await?;
/// reader.read_to_string(&mut plaintext).await?;
/// assert_eq!(plaintext, "four score");
/// # Ok(()) })
/// # }
/// ```
#[must_use = "a message is complete only after `finish` or a shutdown"]
pub struct AsyncEncryptWriter<'k, W> {
    sink: W,
    chunks: ChunkWriter<'k>,
    is_shut_down: bool,
    budget: CoopBudget,
}

impl<'k, W: AsyncWrite + Unpin> AsyncEncryptWriter<'k, W> {
    /// Encrypts what is written to it by `envelope`, and writes the message to `sink`.
    ///
    /// Calls the keyring at once, on this thread. For a keyring that blocks see
    /// [`from_stream`](Self::from_stream).
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::encrypt`].
    pub fn new<K: Keyring + 'k, G: RandomSource>(
        envelope: &Envelope<K, G>,
        sink: W,
        aad: Aad<'_>,
    ) -> Result<Self, Error> {
        Ok(AsyncEncryptWriter::from_stream(sink, envelope.stream_encryptor(aad)?))
    }

    /// Writes the output of `stream` to `sink`: for a header that is stored apart, and for a keyring that
    /// blocks, which can create the stream on a thread for blocking calls.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        let chunks = ChunkWriter::new(stream.into_chunks().on_one_thread()).eager();
        AsyncEncryptWriter { sink, chunks, is_shut_down: false, budget: CoopBudget::default() }
    }

    /// Returns the sink, which lags behind the plaintext that was written here.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Ends the message, writes the rest of it, shuts the sink down and returns it. Dropping the future
    /// leaves the message unfinished.
    ///
    /// Some sinks store nothing before their shutdown, such as `object_store`'s `BufWriter`. For a sink
    /// that stays in use, such as a connection, call
    /// [`finish_without_shutdown`](Self::finish_without_shutdown).
    ///
    /// Calls the keyring's [`freshness`](crate::Keyring::freshness) on the polling thread.
    ///
    /// # Errors
    ///
    /// - [`Error::StreamRefused`] if a version in the header was disabled, compromised or destroyed
    ///   meanwhile: encrypt the message again.
    /// - [`Error::Backend`] if the keyring is unavailable.
    /// - [`Error::Io`].
    pub async fn finish(mut self) -> Result<W, Error> {
        poll_fn(|cx| self.poll_shutdown_once(cx)).await?;
        Ok(self.sink)
    }

    /// Ends the message, writes the rest of it, flushes the sink and returns it open. **A sink that
    /// stores only at its shutdown has stored nothing yet.**
    ///
    /// # Errors
    ///
    /// [`Error::StreamRefused`] if a version in the header was disabled, compromised or destroyed
    /// meanwhile; [`Error::Backend`] if the keyring is unavailable; [`Error::Io`].
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
