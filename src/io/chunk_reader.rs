//! From a reader through the chunks: what both readers are made of.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::buffer::Buffer;
use super::error::{Latch, uninterrupted};
use super::{LONG_CHUNKS, LONG_LEN, alone, batch};
use crate::stream::{ChunkStream, Direction};
use crate::threads::Threads;
use std::io::{self, Read};

/// The first buffer, so that a short message does not cost a long one.
const FIRST_LEN: usize = 4096;

/// Chunks that are read at a time, before the message has shown that it is long: what a source in
/// memory gives is then still in the innermost cache when it is turned.
const READ_CHUNKS: usize = 2;

/// The shortest buffer for what is given out.
const MIN_OUTPUT_LEN: usize = 512;

/// What of `buffer` can be turned without gathering: whole chunks, or at the end all of it.
fn ready<D: Direction>(buffer: &Buffer, at_end: bool) -> &[u8] {
    let filled = buffer.filled();
    let part = if at_end { 0 } else { filled.len() % D::IN };
    &filled[..filled.len() - part]
}

/// Reads from `source`, turns chunks, and gives them out.
pub(super) struct Pump<'k, R, D> {
    source: R,
    stream: ChunkStream<'k, D>,
    /// What was read and is not turned yet.
    input: Buffer,
    /// What is turned and not given out yet.
    output: Buffer,
    /// How much is read at a time: more once the source has shown that it has more.
    target: usize,
    /// How many bytes one thread has turned, and from how many on others share the work.
    turned: u64,
    alone: u64,
    /// The source has nothing more.
    at_end: bool,
    /// What the source failed with behind what it gave: told when it would be asked again.
    pending: Option<io::Error>,
    latch: Latch,
}

impl<'k, R: Read, D: Direction> Pump<'k, R, D> {
    /// Goes on behind what was read `ahead` of the chunks.
    pub(super) fn new(source: R, stream: ChunkStream<'k, D>, ahead: &[u8]) -> Self {
        let mut input = Buffer::default();
        input.refill(ahead.len(), ahead);
        let (output, target) = (Buffer::default(), FIRST_LEN);
        let alone = alone(stream.threads());
        Pump {
            source,
            stream,
            input,
            output,
            target,
            turned: 0,
            alone,
            at_end: false,
            pending: None,
            latch: Latch::default(),
        }
    }

    pub(super) fn source(&self) -> &R {
        &self.source
    }

    /// Everything: 0 bytes only at the proven end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            // A failure is told once what came before it has been given out.
            return if self.output.is_empty() { self.latch.check().map(|()| 0) } else { Ok(0) };
        }
        // Whole chunks need no stop on the way, nor what all threads share.
        let chunks = self.threads().map_or(1, |threads| batch(Some(threads)));
        if self.output.is_empty() && out.len() >= chunks * D::OUT {
            return self.latched(|pump| {
                pump.gather()?;
                pump.turn(out)
            });
        }
        let ready = self.fill()?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }

    /// What can be given out: nothing only at the proven end.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.output.is_empty() {
            self.latched(|pump| pump.turn_batch())?;
        }
        Ok(self.output.filled())
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.output.consume(len);
    }

    /// Reads what is left, and proves the end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        loop {
            let len = self.fill()?.len();
            if len == 0 {
                return Ok(());
            }
            self.consume(len);
        }
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }

    fn latched<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.latch.check()?;
        let answer = step(self);
        self.latch.keep(answer)
    }

    /// Turns chunks straight into `out`.
    fn turn(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            // What it still holds was verified, and is given out though the end may be missing.
            if self.at_end && self.input.is_empty() && self.stream.can_finish() {
                return Ok(self.stream.finish(out)?);
            }
            let ready = ready::<D>(&self.input, self.at_end);
            let progress = self.stream.update(ready, out)?;
            self.input.consume(progress.consumed);
            // Saturates: a count that is compared with small ones.
            self.turned = self.turned.saturating_add(progress.produced as u64);
            if progress.produced > 0 {
                return Ok(progress.produced);
            }
            if self.ready().is_empty() && !self.at_end {
                self.refill()?;
            }
        }
    }

    /// Turns chunks into the output: one, or as many as several threads share.
    fn turn_batch(&mut self) -> io::Result<()> {
        self.stream.check()?;
        self.gather()?;
        let filled = self.input.filled().len();
        let tags = filled.div_ceil(D::IN) * D::IN.abs_diff(D::OUT);
        // One thread takes chunk after chunk, while it is in the cache.
        let most = if self.threads().is_some() { usize::MAX } else { D::OUT };
        let mut output = core::mem::take(&mut self.output);
        let expected = filled + tags + self.stream.pending_len();
        output.refill(expected.clamp(MIN_OUTPUT_LEN, most), &[]);
        let turned = self.turn(output.room());
        self.output = output;
        self.output.add(turned?);
        Ok(())
    }

    /// Reads until there is a chunk, or as much as several threads share; less at the end, or where
    /// the source fails or has nothing yet.
    fn gather(&mut self) -> io::Result<()> {
        if self.stream.pending_len() > 0 {
            return Ok(());
        }
        while !self.at_end && (self.ready().is_empty() || self.is_batch_wanted()) {
            if let Err(error) = self.refill() {
                if self.ready().is_empty() {
                    return Err(error);
                }
                // What was read before it comes first.
                self.pending = Some(error);
                break;
            }
        }
        Ok(())
    }

    fn is_batch_wanted(&self) -> bool {
        self.threads().is_some() && self.input.filled().len() < self.batch_len()
    }

    /// The threads that share the work, once that is worth it.
    fn threads(&self) -> Option<&Threads> {
        self.stream.threads().filter(|_| self.turned >= self.alone)
    }

    /// What the stream can turn now.
    fn ready(&self) -> &[u8] {
        ready::<D>(&self.input, self.at_end)
    }

    /// Reads once.
    fn refill(&mut self) -> io::Result<()> {
        self.stream.check_process()?;
        let filled = self.input.filled().len();
        if filled >= self.target {
            // Never without room: what is read into none would be taken for the end.
            self.target = self.batch_len().max(filled + D::IN);
        }
        if self.input.capacity() < self.target {
            let mut larger = Buffer::default();
            larger.refill(self.target, self.input.filled());
            self.input = larger;
        } else {
            self.input.compact();
        }
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let room = self.input.room();
        let most = room.len();
        let len = uninterrupted(|| self.source.read(room))?;
        self.at_end = len == 0;
        self.input.add(len);
        if len >= most {
            self.target = self.batch_len();
        }
        Ok(())
    }

    /// A full buffer: it ends where a chunk does.
    fn batch_len(&self) -> usize {
        let chunks = match self.threads() {
            Some(threads) => batch(Some(threads)),
            None if self.turned < LONG_LEN => READ_CHUNKS,
            None => LONG_CHUNKS,
        };
        chunks * D::IN
    }
}
