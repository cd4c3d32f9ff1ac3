//! Plaintext to a writer, as a message.

use super::buffer::Buffer;
use super::error::{Latch, uninterrupted};
use super::write_buffer::Outgoing;
use super::{alone, batch};
use crate::body::ChunkEncryptor;
use crate::body::layout::CHUNK_LEN;
use crate::error::Error;
use crate::stream::{ChunkStream, StreamEncryptor};
use core::fmt;
use std::io::{self, Write};

/// Encrypts what is written to it and writes the message to a sink; made by
/// [`Envelope::encrypt_writer`](crate::Envelope::encrypt_writer).
///
/// **Call [`finish`](Self::finish).** A writer that is dropped before, on an error or a panic,
/// leaves a message that every reader refuses as truncated: that is on purpose, so `drop` does not
/// finish it. [`Envelope::with_observer`](crate::Envelope::with_observer) has it told;
/// [`Envelope::encrypt_copy`](crate::Envelope::encrypt_copy) cannot forget it.
///
/// Four chunks wait to be written in one piece, and sixteen once a mebibyte has gone through. Where
/// several threads share the work ([`Threads`](crate::Threads)), half a mebibyte waits for each.
/// `flush` hands on all that is whole, and never ends a chunk: up to 16,383 bytes stay behind.
///
/// # Errors
///
/// [`Error::Forked`] within, for ever, in a child of `fork`: nothing is encrypted or written there, and
/// the parent goes on. An error of the sink is passed on, and every later call fails with it again; but `WouldBlock`
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
pub struct EncryptWriter<'k, W> {
    sink: W,
    stream: ChunkStream<'k, ChunkEncryptor>,
    /// How many bytes are to go through on this thread before several share the rest.
    alone: u64,
    /// Plaintext that several threads are to share.
    gathered: Buffer,
    /// What goes to the sink before that.
    outgoing: Outgoing,
    /// Nothing more can be written.
    ended: bool,
    latch: Latch,
}

impl<'k, W: Write> EncryptWriter<'k, W> {
    /// Writes what `stream` makes, which nothing was taken from yet, on this thread: other threads of
    /// the envelope take no part.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        EncryptWriter::new(sink, stream.into_chunks().alone())
    }

    pub(super) fn new(sink: W, mut stream: ChunkStream<'k, ChunkEncryptor>) -> Self {
        let outgoing = Outgoing::from(stream.take_start());
        EncryptWriter {
            sink,
            alone: alone(stream.threads()),
            stream,
            gathered: Buffer::default(),
            outgoing,
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
    /// [`Error::StreamRefused`] if a version that the message is wrapped under was disabled,
    /// compromised or destroyed meanwhile: encrypt it again. [`Error::Unavailable`] if the keyring
    /// cannot tell now; [`try_finish`](Self::try_finish) can be called
    /// again.
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
            writer.stream.check_process()?;
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

    /// Writes what is encrypted to the sink, which a child of `fork` leaves to its parent.
    fn drain(&mut self) -> io::Result<()> {
        if !self.outgoing.is_empty() {
            self.stream.check_process()?;
        }
        self.outgoing.write_to(&mut self.sink)
    }

    /// The same once that is worth a write.
    fn drain_full(&mut self) -> io::Result<()> {
        if self.outgoing.is_full() { self.drain() } else { Ok(()) }
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
        if self.alone > 0 || self.stream.threads().is_none() {
            let taken = self.encrypt(plaintext)?;
            // Saturates: beyond it others share the work.
            self.alone = self.alone.saturating_sub(taken as u64);
            return Ok(taken);
        }
        let batch_len = batch(self.stream.threads()) * CHUNK_LEN;
        if self.gathered.is_empty() {
            let missing = self.stream.missing_len();
            if missing > 0 {
                // What a flush has left behind becomes a whole chunk first.
                return self.encrypt(plaintext.get(..missing).unwrap_or(plaintext));
            }
            if let Some(batch) = plaintext.get(..batch_len) {
                return self.encrypt_batch(batch);
            }
            self.gathered.refill(batch_len, &[]);
        } else if self.gathered.room().is_empty() {
            self.encrypt_gathered()?;
        }
        Ok(self.gathered.push(plaintext))
    }

    /// Encrypts from `plaintext`, whole chunks, by several threads.
    fn encrypt_batch(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.drain()?;
        let room = self.outgoing.batch_room(plaintext.len().div_ceil(CHUNK_LEN));
        let progress = self.stream.update(plaintext, room)?;
        self.outgoing.add(progress.produced);
        Ok(progress.consumed)
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

    /// Encrypts what is gathered. If that is not yet possible it comes again.
    fn encrypt_gathered(&mut self) -> io::Result<()> {
        while !self.gathered.is_empty() {
            let gathered = core::mem::take(&mut self.gathered);
            let filled = gathered.filled();
            let whole = filled.len() - filled.len() % CHUNK_LEN;
            let encrypted = match filled.get(..whole) {
                Some(whole) if !whole.is_empty() => self.encrypt_batch(whole),
                _ => self.encrypt(filled),
            };
            self.gathered = gathered;
            self.gathered.consume(encrypted?);
        }
        self.gathered.compact();
        Ok(())
    }
}

impl<W: Write> Write for EncryptWriter<'_, W> {
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
            writer.stream.check_process()?;
            writer.encrypt_gathered()?;
            writer.drain_stream()?;
            uninterrupted(|| writer.sink.flush())
        })
    }
}

impl<W> fmt::Debug for EncryptWriter<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").finish_non_exhaustive()
    }
}
