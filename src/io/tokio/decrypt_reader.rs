//! A message from an asynchronous reader, as plaintext.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::{CHUNKS, Pace, uninterrupted};
use crate::body::layout::{CHUNK_LEN, ENCRYPTED_CHUNK_LEN};
use crate::error::Error;
use crate::stream::StreamDecryptor;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use tokio::io::{AsyncRead, ReadBuf};
use zeroize::Zeroizing;

/// The first buffer, so that a short message does not cost a long one.
const FIRST_LEN: usize = 4096;

/// Encrypted bytes that are read at a time, once the source has shown that it has more.
const BATCH_LEN: usize = CHUNKS * ENCRYPTED_CHUNK_LEN;

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
    stream: StreamDecryptor,
    /// What was read; the bytes from `start` to `end` are not decrypted yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How much is read at a time.
    target: usize,
    /// The source has nothing more.
    at_end: bool,
    pace: Pace,
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
        let (input, start, end) = (ahead.to_vec(), 0, ahead.len());
        let stream = stream.alone();
        let (target, at_end, pace) = (FIRST_LEN, false, Pace::default());
        AsyncDecryptReader { source, stream, input, start, end, target, at_end, pace }
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
        let mut dropped = Zeroizing::new(vec![0; CHUNK_LEN]);
        while poll_fn(|cx| self.poll_latched(cx, &mut dropped)).await? > 0 {}
        Ok(self.source)
    }

    fn poll_latched(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pace.check()?;
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let answer = self.poll_decrypt(cx, out);
        self.pace.keep(answer)
    }

    /// Decrypts to `out`, which has room: 0 bytes only at the proven end.
    fn poll_decrypt(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.pace.poll_turn(cx));
        loop {
            let input = &self.input[self.start..self.end];
            let produced = if self.at_end && input.is_empty() && self.stream.can_finish() {
                return Poll::Ready(Ok(self.stream.finish(out)?));
            } else {
                // Also without input: what it still holds must not wait for the source.
                let progress = self.stream.update(input, out)?;
                self.start += progress.consumed;
                progress.produced
            };
            if produced > 0 {
                self.pace.worked(produced);
                return Poll::Ready(Ok(produced));
            }
            if !self.at_end {
                ready!(self.poll_fill(cx))?;
            }
        }
    }

    /// Reads once, all of the input being used up.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.input.len() < self.target {
            self.input = vec![0; self.target];
        }
        (self.start, self.end) = (0, 0);
        let most = self.input.len();
        let (source, input) = (&mut self.source, &mut self.input);
        let len = ready!(uninterrupted(|| {
            let mut room = ReadBuf::new(input);
            let polled = Pin::new(&mut *source).poll_read(cx, &mut room);
            polled.map_ok(|()| room.filled().len().min(most))
        }))?;
        self.end = len;
        self.at_end = len == 0;
        if len == most {
            self.target = (self.target * 4).min(BATCH_LEN);
        }
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for AsyncDecryptReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(CHUNKS * CHUNK_LEN);
        let out = buffer.initialize_unfilled_to(room);
        let len = ready!(self.get_mut().poll_latched(cx, out))?;
        buffer.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<R> fmt::Debug for AsyncDecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDecryptReader").finish_non_exhaustive()
    }
}
