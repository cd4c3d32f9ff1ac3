//! Plaintext to an asynchronous writer, as a message.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::{CHUNKS, Pace, uninterrupted};
use crate::body::layout::{CHUNK_LEN, ENCRYPTED_CHUNK_LEN};
use crate::error::Error;
use crate::stream::StreamEncryptor;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
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
    stream: StreamEncryptor<'k>,
    /// Encrypted bytes of which those from `start` to `end` are still to be written.
    outgoing: Vec<u8>,
    start: usize,
    end: usize,
    /// Nothing more can be written.
    ended: bool,
    /// The sink was shut down.
    shut: bool,
    pace: Pace,
}

impl<'k, W: AsyncWrite + Unpin> AsyncEncryptWriter<'k, W> {
    /// Writes what `stream` makes to `sink`: for a header that is kept apart, and for keyrings that
    /// block, which can make the stream on a thread for that.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        let mut stream = stream.alone();
        let outgoing = stream.take_start();
        let (start, end) = (0, outgoing.len());
        AsyncEncryptWriter {
            sink,
            stream,
            outgoing,
            start,
            end,
            ended: false,
            shut: false,
            pace: Pace::default(),
        }
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
    /// [`Error::StreamRefused`], [`Error::Unavailable`] as
    /// [`EncryptWriter::finish`](crate::stream::EncryptWriter::finish), on the polling thread, of the
    /// keyring's [`freshness`](crate::Keyring::freshness) alone; [`Error::Io`].
    pub async fn finish(mut self) -> Result<W, Error> {
        poll_fn(|cx| self.poll_shut(cx)).await?;
        Ok(self.sink)
    }

    /// Ends the message, writes the rest of it, flushes the sink and gives it back open: for what
    /// follows the message there. **A sink that stores only at its shutdown has stored nothing yet.**
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub async fn finish_without_shutdown(mut self) -> Result<W, Error> {
        poll_fn(|cx| {
            self.latched(|writer| {
                ready!(writer.poll_end(cx))?;
                writer.poll_flush_sink(cx)
            })
        })
        .await?;
        Ok(self.sink)
    }

    fn latched<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.pace.check()?;
        let answer = step(self);
        self.pace.keep(answer)
    }

    /// Writes what is encrypted to the sink. What was written is not written again.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.start < self.end {
            // A child of `fork` leaves the sink to its parent.
            self.stream.check_process()?;
        }
        while self.start < self.end {
            let rest = &self.outgoing[self.start..self.end];
            let sink = &mut self.sink;
            match ready!(uninterrupted(|| Pin::new(&mut *sink).poll_write(cx, rest)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                // Saturates: a sink may say that it took more.
                len => self.start = self.start.saturating_add(len).min(self.end),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the whole chunks that the stream holds.
    fn poll_drain_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let room = room(&mut self.outgoing, ENCRYPTED_CHUNK_LEN);
            let progress = self.stream.update(&[], room)?;
            (self.start, self.end) = (0, progress.produced);
            if progress.produced == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Encrypts from `plaintext`, at least a byte.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_drain(cx))?;
            ready!(self.pace.poll_turn(cx));
            let chunks = plaintext.len().div_ceil(CHUNK_LEN).min(CHUNKS);
            let room = room(&mut self.outgoing, chunks * ENCRYPTED_CHUNK_LEN);
            let progress = self.stream.update(plaintext, room)?;
            (self.start, self.end) = (0, progress.produced);
            self.pace.worked(progress.consumed);
            if progress.consumed > 0 {
                return Poll::Ready(Ok(progress.consumed));
            }
        }
    }

    /// Ends the message and writes the rest of it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        loop {
            ready!(self.poll_drain(cx))?;
            let room = room(&mut self.outgoing, ENCRYPTED_CHUNK_LEN);
            match self.stream.finish(room)? {
                0 => return Poll::Ready(Ok(())),
                len => (self.start, self.end) = (0, len),
            }
        }
    }

    /// Ends the message and shuts the sink down, once.
    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.latched(|writer| {
            if !writer.shut {
                ready!(writer.poll_end(cx))?;
                ready!(uninterrupted(|| Pin::new(&mut writer.sink).poll_shutdown(cx)))?;
                writer.shut = true;
            }
            Poll::Ready(Ok(()))
        })
    }

    fn poll_flush_sink(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        uninterrupted(|| Pin::new(&mut self.sink).poll_flush(cx))
    }
}

/// Makes `bytes` at least `len` long.
fn room(bytes: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if bytes.len() < len {
        *bytes = vec![0; len];
    }
    bytes
}

impl<W: AsyncWrite + Unpin> AsyncWrite for AsyncEncryptWriter<'_, W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        writer.pace.check()?;
        if plaintext.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Not kept as a failure: the message, complete as it is, can still go out.
        if writer.ended {
            return Poll::Ready(Err(Error::Ended.into()));
        }
        writer.latched(|writer| writer.poll_encrypt(cx, plaintext))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().latched(|writer| {
            ready!(writer.poll_drain_stream(cx))?;
            writer.poll_flush_sink(cx)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_shut(cx)
    }
}

impl<W> fmt::Debug for AsyncEncryptWriter<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncEncryptWriter").finish_non_exhaustive()
    }
}
