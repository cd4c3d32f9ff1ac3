//! Plaintext to a writer, as a message.

use super::error::{Latch, is_transient, uninterrupted};
use super::outgoing::Outgoing;
use super::{alone, batch};
use crate::body::layout::CHUNK_LEN;
use crate::error::Error;
use crate::plain_buffer::PlainBuffer;
use crate::stream::StreamEncryptor;
use crate::workers::Workers;
use alloc::sync::Arc;
use core::fmt;
use std::io::{self, Write};

/// Encrypts what is written to it and writes the message to a sink; made by
/// [`Envelope::encrypt_writer`](crate::Envelope::encrypt_writer).
///
/// **Call [`finish`](Self::finish).** A writer that is dropped before, on an error or a panic,
/// leaves a message that every reader refuses as truncated: that is on purpose, so `drop` does not
/// finish it.
///
/// Four chunks wait to be written in one piece, and sixteen once a mebibyte has gone through.
/// `flush` hands on all that is whole, and never ends a chunk: up to 16,383 bytes stay behind.
///
/// # Errors
///
/// An error of the sink is passed on, and every later call fails with it again; but `WouldBlock`
/// and `TimedOut` only say "not yet" and lose nothing. `Interrupted` is not passed on.
///
/// Needs no `BufWriter` on either side.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring};
/// use std::io::{Read, Write};
///
/// let envelope = Envelope::new(MemoryKeyring::create("logs")?);
/// let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none())?;
/// writer.write_all(b"four score")?;
/// let message = writer.finish()?;
///
/// let mut plaintext = String::new();
/// envelope.decrypt_reader(&message[..], Aad::none())?.read_to_string(&mut plaintext)?;
/// assert_eq!(plaintext, "four score");
/// # Ok(())
/// # }
/// ```
#[must_use = "a message is whole only once `finish` was called"]
pub struct EncryptWriter<W> {
    sink: W,
    stream: StreamEncryptor,
    workers: Option<Arc<dyn Workers>>,
    /// How many bytes several threads share.
    batch: usize,
    /// How many are to go through before it is worth sharing the next.
    alone: u64,
    /// Plaintext that waits for a full batch, where several threads share the work.
    gathered: PlainBuffer,
    /// What goes to the sink, and what comes behind it.
    outgoing: Outgoing,
    following: Outgoing,
    /// Nothing more can be written.
    ended: bool,
    latch: Latch,
}

impl<W: Write> EncryptWriter<W> {
    /// Writes what `stream` makes, which nothing was taken from yet, on this thread.
    pub fn from_stream(sink: W, stream: StreamEncryptor) -> Self {
        EncryptWriter::new(sink, stream, None)
    }

    pub(super) fn new(
        sink: W,
        mut stream: StreamEncryptor,
        workers: Option<Arc<dyn Workers>>,
    ) -> Self {
        let gathered = PlainBuffer::default();
        let start = stream.take_start();
        let outgoing = Outgoing::from(start);
        let following = Outgoing::default();
        let batch = batch(workers.as_deref()).saturating_mul(CHUNK_LEN);
        EncryptWriter {
            sink,
            stream,
            alone: alone(workers.as_deref()),
            workers,
            batch,
            gathered,
            outgoing,
            following,
            ended: false,
            latch: Latch::default(),
        }
    }

    /// The sink, which lags behind what was written here.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Ends the message, writes the rest of it, flushes the sink and gives it back.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], which is retryable only by [`try_finish`](Self::try_finish).
    pub fn finish(mut self) -> Result<W, Error> {
        self.try_finish()?;
        Ok(self.sink)
    }

    /// As [`finish`](Self::finish), for sinks that do not wait: after `WouldBlock`, call it again.
    /// Nothing more can be written.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_finish(&mut self) -> Result<(), Error> {
        Ok(self.latched(|writer| {
            writer.ended = true;
            writer.encrypt_gathered()?;
            loop {
                writer.drain_full()?;
                let room = writer.outgoing.room(1);
                let len = writer.stream.finish(room)?;
                writer.outgoing.add(len);
                if len == 0 {
                    writer.drain()?;
                    return uninterrupted(|| writer.sink.flush());
                }
            }
        })?)
    }

    fn latched<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.latch.check()?;
        let answer = step(self);
        self.latch.keep(answer)
    }

    /// Writes what is encrypted to the sink.
    fn drain(&mut self) -> io::Result<()> {
        self.outgoing.write_to(&mut self.sink)?;
        self.following.write_to(&mut self.sink)
    }

    /// Makes room for a chunk: writes what is enough to be written in one piece.
    fn drain_full(&mut self) -> io::Result<()> {
        if !self.following.is_empty() {
            return self.drain();
        }
        self.outgoing.write_full_to(&mut self.sink)
    }

    /// Writes the whole chunks that the stream holds.
    fn drain_stream(&mut self) -> io::Result<()> {
        loop {
            self.drain()?;
            if self.ended {
                return Ok(());
            }
            let room = self.outgoing.room(1);
            let progress = self.stream.update(&[], room)?;
            self.outgoing.add(progress.produced);
            if progress.produced == 0 {
                return Ok(());
            }
        }
    }

    /// Takes from `plaintext`, at least a byte.
    fn take(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        let Some(workers) = self.workers.clone().filter(|_| self.alone == 0) else {
            let taken = self.encrypt(plaintext)?;
            self.alone = self.alone.saturating_sub(taken as u64);
            return Ok(taken);
        };
        if self.gathered.is_empty() && plaintext.len() >= self.batch {
            let plaintext = plaintext.get(..self.batch).unwrap_or_default();
            self.encrypt_batch(&*workers, plaintext)?;
            return Ok(plaintext.len());
        }
        if self.gathered.len() >= self.batch {
            self.encrypt_gathered()?;
        }
        let room = self.batch.saturating_sub(self.gathered.len());
        let piece = plaintext.get(..room).unwrap_or(plaintext);
        self.gathered.push_slice(piece, self.batch);
        Ok(piece.len())
    }

    /// Encrypts from `plaintext`, at least a byte, on this thread.
    fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        loop {
            self.drain_full()?;
            let room = self.outgoing.room(plaintext.len().div_ceil(CHUNK_LEN));
            let progress = self.stream.update(plaintext, room)?;
            self.outgoing.add(progress.produced);
            if progress.consumed > 0 {
                return Ok(progress.consumed);
            }
        }
    }

    fn encrypt_gathered(&mut self) -> io::Result<()> {
        let Some(workers) = self.workers.clone().filter(|_| !self.gathered.is_empty()) else {
            return Ok(());
        };
        let gathered = core::mem::take(&mut self.gathered);
        let encrypted = self.encrypt_batch(&*workers, &gathered);
        self.gathered = gathered;
        // If it was not yet possible it comes again.
        encrypted?;
        self.gathered.truncate(0);
        Ok(())
    }

    /// Encrypts all of `plaintext` while what came before goes to the sink. If that is not yet
    /// possible, the plaintext was taken all the same, unless more than one batch waits.
    fn encrypt_batch(&mut self, workers: &dyn Workers, plaintext: &[u8]) -> io::Result<()> {
        if !self.following.is_empty() {
            self.drain()?;
        }
        // A chunk that a flush left half full, and the one that is half full then.
        let chunks = plaintext.len().div_ceil(CHUNK_LEN).saturating_add(1);
        let EncryptWriter { sink, stream, outgoing, following, .. } = self;
        let room = following.room_for_all(chunks);
        let (mut written, mut encrypted) = (Ok(()), None);
        let mut write = || written = outgoing.write_to(sink);
        let mut encrypt = || {
            encrypted.get_or_insert_with(|| stream.update(plaintext, room));
        };
        if plaintext.len() < self.batch {
            // Not worth waking another thread.
            write();
            encrypt();
        } else {
            workers.overlap(&mut write, &mut encrypt);
        }
        let progress = match encrypted {
            Some(encrypted) => encrypted?,
            None => stream.update(plaintext, room)?,
        };
        following.add(progress.produced);
        if progress.consumed != plaintext.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        match written {
            Err(error) if !is_transient(&error) => return Err(error),
            _ if outgoing.is_empty() => core::mem::swap(outgoing, following),
            _ => {}
        }
        Ok(())
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.latch.check()?;
        if plaintext.is_empty() {
            return Ok(0);
        }
        // Not kept as a failure: the message, complete as it is, can still go out.
        if self.ended {
            return Err(Error::Ended.into());
        }
        self.latched(|writer| writer.take(plaintext))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.latched(|writer| {
            writer.encrypt_gathered()?;
            writer.drain_stream()?;
            uninterrupted(|| writer.sink.flush())
        })
    }
}

impl<W> fmt::Debug for EncryptWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").finish_non_exhaustive()
    }
}
