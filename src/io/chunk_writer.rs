//! Plaintext to a sink, as the chunks of a message: the core of both writers.

use super::batch::{batch_chunks, single_thread_len};
use super::buffer::Buffer;
use super::error::uninterrupted;
use super::sticky_error::StickyError;
use super::write_buffer::WriteBuffer;
use crate::body::ChunkEncryptor;
use crate::error::Error;
use crate::format::layout::CHUNK_LEN;
use crate::stream::ChunkStream;
use std::io::{self, Write};

/// Encrypts plaintext and writes the message to a sink, which is an argument of each call.
///
/// A sink that returns `WouldBlock` loses nothing: the same call continues later.
pub(super) struct ChunkWriter<'k> {
    stream: ChunkStream<'k, ChunkEncryptor>,
    /// Bytes left to encrypt on this thread before several share the work.
    single_thread_left: u64,
    /// Plaintext for several threads to share.
    gathered: Buffer,
    encrypted: WriteBuffer,
    /// No plaintext is taken any more.
    ended: bool,
    error: StickyError,
}

impl<'k> ChunkWriter<'k> {
    pub(super) fn new(mut stream: ChunkStream<'k, ChunkEncryptor>) -> Self {
        let encrypted = WriteBuffer::from(stream.take_start());
        ChunkWriter {
            single_thread_left: single_thread_len(stream.threads()),
            stream,
            gathered: Buffer::default(),
            encrypted,
            ended: false,
            error: StickyError::default(),
        }
    }

    /// Writes each chunk before the next call encrypts more.
    #[cfg(feature = "tokio")]
    pub(super) fn eager(self) -> Self {
        ChunkWriter { encrypted: self.encrypted.eager(), ..self }
    }

    /// Takes from `plaintext`, at least a byte unless it is empty.
    pub(super) fn write(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        self.error.check()?;
        if plaintext.is_empty() {
            return Ok(0);
        }
        // Not sticky: the message, complete as it is, can still go out.
        if self.ended {
            return Err(Error::Ended.into());
        }
        self.sticky(|writer| writer.take(sink, plaintext))
    }

    /// Writes all whole chunks and flushes the sink.
    pub(super) fn flush(&mut self, sink: &mut impl Write) -> io::Result<()> {
        self.sticky(|writer| {
            writer.stream.check_process()?;
            writer.encrypt_gathered(sink)?;
            writer.drain_stream(sink)?;
            uninterrupted(|| sink.flush())
        })
    }

    /// Ends the message, writes the rest of it, then flushes or shuts the sink down by `close`.
    pub(super) fn finish<W: Write>(
        &mut self,
        sink: &mut W,
        mut close: impl FnMut(&mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        self.sticky(|writer| {
            writer.stream.check_process()?;
            writer.ended = true;
            writer.encrypt_gathered(sink)?;
            loop {
                writer.drain_full(sink)?;
                let room = writer.encrypted.room(1);
                let len = writer.stream.finish(room)?;
                writer.encrypted.add(len);
                if len == 0 {
                    writer.drain(sink)?;
                    return uninterrupted(|| close(sink));
                }
            }
        })
    }

    fn sticky<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.error.check()?;
        let result = step(self);
        self.error.keep(result)
    }

    /// Writes the encrypted bytes, which a child of `fork` leaves to its parent.
    fn drain(&mut self, sink: &mut impl Write) -> io::Result<()> {
        if !self.encrypted.is_empty() {
            self.stream.check_process()?;
        }
        self.encrypted.write_to(sink)
    }

    /// Writes the encrypted bytes if there are enough for a write.
    fn drain_full(&mut self, sink: &mut impl Write) -> io::Result<()> {
        if self.encrypted.is_full() { self.drain(sink) } else { Ok(()) }
    }

    /// Writes the whole chunks in the stream.
    fn drain_stream(&mut self, sink: &mut impl Write) -> io::Result<()> {
        loop {
            self.drain(sink)?;
            if self.ended {
                return Ok(());
            }
            let room = self.encrypted.room(1);
            let progress = self.stream.update(&[], room)?;
            self.encrypted.add(progress.produced);
            if progress.produced == 0 {
                return Ok(());
            }
        }
    }

    /// Takes from `plaintext`, at least a byte.
    fn take(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        if self.single_thread_left > 0 || self.stream.threads().is_none() {
            let taken = self.encrypt(sink, plaintext)?;
            // Saturates: from 0 on several threads share the work.
            self.single_thread_left = self.single_thread_left.saturating_sub(taken as u64);
            return Ok(taken);
        }
        let batch_len = batch_chunks(self.stream.threads()) * CHUNK_LEN;
        if self.gathered.is_empty() {
            let missing = self.stream.missing_len();
            if missing > 0 {
                // The part that a flush has left in the stream becomes a whole chunk first.
                return self.encrypt(sink, plaintext.get(..missing).unwrap_or(plaintext));
            }
            if let Some(batch) = plaintext.get(..batch_len) {
                return self.encrypt_batch(sink, batch);
            }
            self.gathered.refill(batch_len, &[]);
        } else if self.gathered.room().is_empty() {
            self.encrypt_gathered(sink)?;
        }
        Ok(self.gathered.push(plaintext))
    }

    /// Encrypts from `plaintext`, whole chunks, by several threads.
    fn encrypt_batch(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        self.drain(sink)?;
        let room = self.encrypted.batch_room(plaintext.len().div_ceil(CHUNK_LEN));
        let progress = self.stream.update(plaintext, room)?;
        self.encrypted.add(progress.produced);
        Ok(progress.consumed)
    }

    /// Encrypts from `plaintext`, at least a byte, on this thread.
    fn encrypt(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        loop {
            self.drain_full(sink)?;
            let room = self.encrypted.room(plaintext.len().div_ceil(CHUNK_LEN));
            let progress = self.stream.update(plaintext, room)?;
            self.encrypted.add(progress.produced);
            if progress.consumed > 0 {
                return Ok(progress.consumed);
            }
        }
    }

    /// Encrypts the gathered plaintext, which stays until that succeeds.
    fn encrypt_gathered(&mut self, sink: &mut impl Write) -> io::Result<()> {
        while !self.gathered.is_empty() {
            let gathered = core::mem::take(&mut self.gathered);
            let filled = gathered.filled();
            let whole = filled.len() - filled.len() % CHUNK_LEN;
            let encrypted = match filled.get(..whole) {
                Some(whole) if !whole.is_empty() => self.encrypt_batch(sink, whole),
                _ => self.encrypt(sink, filled),
            };
            self.gathered = gathered;
            self.gathered.consume(encrypted?);
        }
        self.gathered.compact();
        Ok(())
    }
}
