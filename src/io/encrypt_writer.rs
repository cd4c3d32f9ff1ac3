//! Plaintext to a writer, as a message.

use super::alone;
use super::buffer::Buffer;
use super::error::{Latch, uninterrupted};
use super::outgoing::Outgoing;
use super::pipeline::{Pipeline, piece_chunks};
use crate::body::ChunkEncryptor;
use crate::body::layout::CHUNK_LEN;
use crate::error::Error;
use crate::stream::{ChunkStream, StreamEncryptor};
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
/// Four chunks wait to be written in one piece, and sixteen once a mebibyte has gone through. Where
/// several threads share the work ([`Workers`]), pieces of theirs wait too, some for each thread.
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
pub struct EncryptWriter<'k, W> {
    sink: W,
    stream: ChunkStream<'k, ChunkEncryptor>,
    workers: Option<Arc<dyn Workers>>,
    /// How many bytes are to go through on this thread before several share the rest.
    alone: u64,
    /// Plaintext that becomes a piece for them, and what they encrypt.
    gathered: Buffer,
    pipeline: Pipeline<ChunkEncryptor>,
    /// What goes to the sink before that: a piece of theirs, or what this thread has encrypted.
    outgoing: Outgoing,
    /// Nothing more can be written.
    ended: bool,
    latch: Latch,
}

impl<'k, W: Write> EncryptWriter<'k, W> {
    /// Writes what `stream` makes, which nothing was taken from yet, on this thread.
    pub fn from_stream(sink: W, stream: StreamEncryptor<'k>) -> Self {
        EncryptWriter::new(sink, stream, None)
    }

    pub(super) fn new(
        sink: W,
        stream: StreamEncryptor<'k>,
        workers: Option<Arc<dyn Workers>>,
    ) -> Self {
        let mut stream = stream.into_chunks();
        let outgoing = Outgoing::from(stream.take_start());
        EncryptWriter {
            sink,
            stream,
            alone: alone(workers.as_deref()),
            workers,
            gathered: Buffer::default(),
            pipeline: Pipeline::default(),
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
            writer.ended = true;
            writer.encrypt_gathered()?;
            loop {
                writer.outgoing.write_full_to(&mut writer.sink)?;
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
        self.outgoing.write_to(&mut self.sink)
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
        let workers = &*workers;
        let missing = self.stream.missing_len();
        if missing > 0 && self.gathered.is_empty() {
            // What a flush has left behind becomes a whole chunk first.
            return self.encrypt(plaintext.get(..missing).unwrap_or(plaintext));
        }
        if self.gathered.is_empty() {
            if let Some(taken) = self.encrypt_piece(workers, plaintext)? {
                return Ok(taken);
            }
        } else if self.gathered.room().is_empty() {
            self.make_room(workers)?;
            self.send(workers)?;
        }
        if self.gathered.room().is_empty() {
            self.gathered = self.pipeline.buffer(workers, &[]);
        }
        let taken = self.gathered.push(plaintext);
        if self.gathered.room().is_empty() && self.pipeline.has_room(workers) {
            self.send(workers)?;
        }
        Ok(taken)
    }

    fn make_room(&mut self, workers: &dyn Workers) -> io::Result<()> {
        while !self.pipeline.has_room(workers) {
            self.take_piece()?;
        }
        Ok(())
    }

    /// Encrypts a piece on this thread, without a copy, while the others are busy.
    fn encrypt_piece(
        &mut self,
        workers: &dyn Workers,
        plaintext: &[u8],
    ) -> io::Result<Option<usize>> {
        let chunks = piece_chunks(workers);
        let Some(piece) = plaintext.get(..chunks.saturating_mul(CHUNK_LEN)) else {
            return Ok(None);
        };
        self.make_room(workers)?;
        if !self.pipeline.has_enough(workers) {
            return Ok(None);
        }
        let Some(reserved) = self.stream.reserve(chunks) else { return Ok(None) };
        self.pipeline.turn(reserved, piece);
        Ok(Some(piece.len()))
    }

    /// Has several threads encrypt what is gathered.
    fn send(&mut self, workers: &dyn Workers) -> io::Result<()> {
        let chunks = self.gathered.filled().len() / CHUNK_LEN;
        let Some(reserved) = self.stream.reserve(chunks) else { return self.encrypt_gathered() };
        let next = self.pipeline.buffer(workers, &[]);
        let gathered = core::mem::replace(&mut self.gathered, next);
        self.pipeline.send(workers, reserved, gathered);
        Ok(())
    }

    /// Writes what is encrypted, and takes the piece that goes to the sink next, if there is one.
    fn take_piece(&mut self) -> io::Result<()> {
        self.drain()?;
        let Some(turned) = self.pipeline.take() else { return Ok(()) };
        if let Some(error) = turned.failure {
            self.stream.fail(error.clone());
            return Err(error.into());
        }
        self.pipeline.recycle(self.outgoing.replace(turned.output));
        Ok(())
    }

    /// Encrypts from `plaintext`, at least a byte, on this thread.
    fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        loop {
            self.outgoing.write_full_to(&mut self.sink)?;
            let room = self.outgoing.room(plaintext.len().div_ceil(CHUNK_LEN));
            let progress = self.stream.update(plaintext, room)?;
            self.outgoing.add(progress.produced);
            if progress.consumed > 0 {
                return Ok(progress.consumed);
            }
        }
    }

    /// Writes what several threads have encrypted, and encrypts what is left of the plaintext on
    /// this one. If that is not yet possible it comes again.
    fn encrypt_gathered(&mut self) -> io::Result<()> {
        while !self.pipeline.is_empty() {
            self.take_piece()?;
        }
        while !self.gathered.is_empty() {
            let gathered = core::mem::take(&mut self.gathered);
            let encrypted = self.encrypt(gathered.filled());
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
