//! Chunks from a source, transformed: the core of every sequential reader.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::batch::{FIRST_LEN, LONG_CHUNKS, LONG_LEN, batch_chunks, single_thread_len};
use super::buffer::Buffer;
use super::error::uninterrupted;
use super::sticky_error::StickyError;
use crate::stream::{ChunkStream, ChunkTransform};
use crate::threads::Threads;
use std::io::{self, Read};

/// Chunks that are read at a time before the message is known to be long: bytes from a source in
/// memory are then still in the innermost cache when they are transformed.
const READ_CHUNKS: usize = 2;

/// The shortest output buffer.
const MIN_OUTPUT_LEN: usize = 512;

/// The part of `buffer` that needs no further input: whole chunks, or at the end all of it.
fn ready<T: ChunkTransform>(buffer: &Buffer, at_end: bool) -> &[u8] {
    let filled = buffer.filled();
    let part = if at_end { 0 } else { filled.len() % T::IN_LEN };
    &filled[..filled.len() - part]
}

/// Reads chunks from a source, which is an argument of each call, and returns them transformed.
///
/// A source that returns `WouldBlock` loses nothing: the same call continues later.
pub(super) struct ChunkReader<'k, T> {
    stream: ChunkStream<'k, T>,
    /// Bytes of the source that are not transformed yet.
    input: Buffer,
    /// Transformed bytes that are not returned yet.
    output: Buffer,
    /// Bytes to read at a time: more once the source has filled the buffer.
    read_len: usize,
    /// Chunks to read at a time on one thread once the message is long.
    long_chunks: usize,
    /// Bytes transformed so far, and how many of them before threads share the work.
    transformed: u64,
    single_thread_len: u64,
    /// The source has returned 0.
    at_end: bool,
    /// A read error, returned after the data before it.
    deferred_error: Option<io::Error>,
    error: StickyError,
}

/// A chunk that is read to a buffer of the caller. If it is dropped before it is full, also by a panic of the
/// source, its bytes go to the input, and the buffer is wiped.
struct UnfinishedChunk<'b> {
    input: &'b mut Buffer,
    read_len: usize,
    bytes: &'b mut [u8],
    filled: usize,
}

impl Drop for UnfinishedChunk<'_> {
    fn drop(&mut self) {
        if self.filled < self.bytes.len() {
            self.input.refill(self.read_len.max(self.filled), &self.bytes[..self.filled]);
            self.bytes.fill(0);
        }
    }
}

impl<'k, T: ChunkTransform> ChunkReader<'k, T> {
    /// Continues behind the bytes of the body that were read `ahead`.
    pub(super) fn new(stream: ChunkStream<'k, T>, ahead: &[u8]) -> Self {
        let mut input = Buffer::default();
        input.refill(ahead.len(), ahead);
        ChunkReader {
            single_thread_len: single_thread_len(stream.threads()),
            stream,
            input,
            output: Buffer::default(),
            read_len: FIRST_LEN,
            long_chunks: LONG_CHUNKS,
            transformed: 0,
            at_end: false,
            deferred_error: None,
            error: StickyError::default(),
        }
    }

    /// Limits how much is read and transformed in one call, also of a long message.
    #[cfg(feature = "tokio")]
    pub(super) fn with_long_chunks(self, long_chunks: usize) -> Self {
        ChunkReader { long_chunks, ..self }
    }

    /// Reads to `out`. Returns 0 only at the verified end.
    pub(super) fn read(&mut self, source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            // The data before a failure comes first.
            return if self.output.is_empty() { self.error.check().map(|()| 0) } else { Ok(0) };
        }
        if self.reads_to(out) {
            return self.sticky(|reader| reader.read_chunk(source, out));
        }
        // A whole chunk or a shared batch goes straight to `out`.
        let chunks = self.threads().map_or(1, |threads| batch_chunks(Some(threads)));
        if self.output.is_empty() && out.len() >= chunks * T::OUT_LEN {
            return self.sticky(|reader| {
                reader.gather(source)?;
                reader.transform(source, out)
            });
        }
        let ready = self.fill(source)?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }

    /// Returns the next transformed bytes: none only at the verified end.
    pub(super) fn fill(&mut self, source: &mut impl Read) -> io::Result<&[u8]> {
        if self.output.is_empty() {
            self.sticky(|reader| reader.transform_batch(source))?;
        }
        Ok(self.output.filled())
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.output.consume(len);
    }

    /// Reads and drops the rest, which verifies the end.
    pub(super) fn finish(&mut self, source: &mut impl Read) -> io::Result<()> {
        loop {
            let len = self.fill(source)?.len();
            if len == 0 {
                return Ok(());
            }
            self.consume(len);
        }
    }

    fn sticky<U>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<U>) -> io::Result<U> {
        self.error.check()?;
        let result = step(self);
        self.error.keep(result)
    }

    /// Whether the next chunk is read to `out` and transformed there.
    fn reads_to(&self, out: &[u8]) -> bool {
        self.stream.is_in_place_only()
            && self.threads().is_none()
            && out.len() >= T::IN_LEN.max(T::OUT_LEN)
            && self.output.is_empty()
            && self.input.is_empty()
            && self.stream.is_between_chunks()
            && !self.at_end
            && self.deferred_error.is_none()
    }

    /// Reads a chunk to `out` and transforms it there. What the source gives of a chunk before it ends, fails
    /// or panics goes to the input, and nothing stays in `out` that is not returned.
    fn read_chunk(&mut self, source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        self.stream.check_process()?;
        let (input, read_len) = (&mut self.input, self.read_len);
        let mut chunk =
            UnfinishedChunk { input, read_len, bytes: &mut out[..T::IN_LEN], filled: 0 };
        while chunk.filled < T::IN_LEN {
            match uninterrupted(|| source.read(&mut chunk.bytes[chunk.filled..])) {
                // Saturates: a source may claim to have given more.
                Ok(len @ 1..) => chunk.filled = chunk.filled.saturating_add(len).min(T::IN_LEN),
                ended => {
                    drop(chunk);
                    self.at_end = ended? == 0;
                    return self.transform(source, out);
                }
            }
        }
        drop(chunk);
        match self.stream.transform_at_start(out) {
            Ok(len) => {
                // The output has not overwritten the tag of a longer input.
                out[len.min(T::IN_LEN)..T::IN_LEN].fill(0);
                // Saturates: a count that is compared with small ones.
                self.transformed = self.transformed.saturating_add(len as u64);
                Ok(len)
            }
            Err(error) => {
                out[..T::IN_LEN].fill(0);
                Err(error.into())
            }
        }
    }

    /// Transforms chunks straight to `out`.
    fn transform(&mut self, source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        loop {
            // Verified bytes in the stream are returned although the end may be missing.
            if self.at_end && self.input.is_empty() && self.stream.can_finish() {
                return Ok(self.stream.finish(out)?);
            }
            let ready = ready::<T>(&self.input, self.at_end);
            let progress = self.stream.update(ready, out)?;
            self.input.consume(progress.consumed);
            // Saturates: a count that is compared with small ones.
            self.transformed = self.transformed.saturating_add(progress.produced as u64);
            if progress.produced > 0 {
                return Ok(progress.produced);
            }
            if self.ready().is_empty() && !self.at_end {
                self.refill(source)?;
            }
        }
    }

    /// Transforms chunks to the output: one, or as many as several threads share.
    fn transform_batch(&mut self, source: &mut impl Read) -> io::Result<()> {
        self.stream.check()?;
        self.gather(source)?;
        let filled = self.input.filled().len();
        let tags = filled.div_ceil(T::IN_LEN) * T::IN_LEN.abs_diff(T::OUT_LEN);
        // One thread takes chunk after chunk, while it is in the cache.
        let most = if self.threads().is_some() { usize::MAX } else { T::OUT_LEN };
        let mut output = core::mem::take(&mut self.output);
        let expected = filled + tags + self.stream.pending_len();
        output.refill(expected.clamp(MIN_OUTPUT_LEN, most), &[]);
        let transformed = self.transform(source, output.room());
        self.output = output;
        self.output.add(transformed?);
        Ok(())
    }

    /// Reads until there is a chunk, or as much as several threads share; less at the end, or if
    /// the source fails or has nothing yet.
    fn gather(&mut self, source: &mut impl Read) -> io::Result<()> {
        if self.stream.pending_len() > 0 {
            return Ok(());
        }
        while !self.at_end && (self.ready().is_empty() || self.is_batch_wanted()) {
            if let Err(error) = self.refill(source) {
                if self.ready().is_empty() {
                    return Err(error);
                }
                self.deferred_error = Some(error);
                break;
            }
        }
        Ok(())
    }

    fn is_batch_wanted(&self) -> bool {
        self.threads().is_some() && self.input.filled().len() < self.batch_len()
    }

    /// The threads that share the work, once the message is long enough.
    fn threads(&self) -> Option<&Threads> {
        self.stream.threads().filter(|_| self.transformed >= self.single_thread_len)
    }

    /// The input that can be transformed now.
    fn ready(&self) -> &[u8] {
        ready::<T>(&self.input, self.at_end)
    }

    /// Reads once.
    fn refill(&mut self, source: &mut impl Read) -> io::Result<()> {
        self.stream.check_process()?;
        let filled = self.input.filled().len();
        if filled >= self.read_len {
            // Always with room: a read into an empty slice would look like the end.
            self.read_len = self.batch_len().max(filled + T::IN_LEN);
        }
        if self.input.capacity() < self.read_len {
            let mut larger = Buffer::default();
            larger.refill(self.read_len, self.input.filled());
            self.input = larger;
        } else {
            self.input.compact();
        }
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        let room = self.input.room();
        let most = room.len();
        let len = uninterrupted(|| source.read(room))?;
        self.at_end = len == 0;
        self.input.add(len);
        if len >= most {
            self.read_len = self.batch_len();
        }
        Ok(())
    }

    /// Bytes of a full input buffer, which ends where a chunk does.
    fn batch_len(&self) -> usize {
        let chunks = match self.threads() {
            Some(threads) => batch_chunks(Some(threads)),
            // The next one goes where it is transformed.
            None if self.stream.is_in_place_only() => 1,
            None if self.transformed < LONG_LEN => READ_CHUNKS,
            None => self.long_chunks,
        };
        chunks * T::IN_LEN
    }
}
