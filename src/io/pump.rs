//! From a reader through the chunks: what both readers are made of.

use super::buffer::Buffer;
use super::error::{Latch, uninterrupted};
use super::pipeline::{Pipeline, piece_chunks};
use super::{LONG_CHUNKS, LONG_LEN, alone};
use crate::stream::{ChunkStream, Direction};
use crate::workers::Workers;
use alloc::sync::Arc;
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
    let part = if at_end { 0 } else { filled.len().checked_rem(D::IN).unwrap_or_default() };
    filled.get(..filled.len().saturating_sub(part)).unwrap_or_default()
}

/// Reads from `source`, turns chunks, and gives them out.
pub(super) struct Pump<'k, R, D> {
    source: R,
    stream: ChunkStream<'k, D>,
    /// What was read and is not turned yet.
    input: Buffer,
    /// What several threads turn.
    pipeline: Pipeline<D>,
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
        let alone = alone(stream.workers().map(Arc::as_ref));
        Pump {
            source,
            stream,
            input,
            pipeline: Pipeline::default(),
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
        // Whole chunks need no stop on the way.
        if self.output.is_empty() && out.len() >= D::OUT && self.workers().is_none() {
            return self.latched(|pump| pump.turn(out));
        }
        let ready = self.fill()?;
        let len = ready.len().min(out.len());
        if let (Some(out), Some(ready)) = (out.get_mut(..len), ready.get(..len)) {
            out.copy_from_slice(ready);
        }
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

    /// Reads what is left, proves the end, and gives the source back.
    pub(super) fn finish(mut self) -> io::Result<R> {
        loop {
            let len = self.fill()?.len();
            if len == 0 {
                return Ok(self.source);
            }
            self.consume(len);
        }
    }

    fn latched<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.latch.check()?;
        let answer = step(self);
        self.latch.keep(answer)
    }

    /// Turns chunks straight into `out`.
    fn turn(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at_end && self.input.is_empty() {
                return Ok(self.stream.finish(out)?);
            }
            // Behind a chunk that was begun elsewhere, several threads go on with whole ones.
            let most = match self.stream.missing_len() {
                missing @ 1.. if self.workers().is_some() => missing,
                _ => usize::MAX,
            };
            let ready = ready::<D>(&self.input, self.at_end);
            let ready = ready.get(..most).unwrap_or(ready);
            let progress = self.stream.update(ready, out)?;
            self.input.consume(progress.consumed);
            self.turned = self.turned.saturating_add(progress.produced as u64);
            if progress.produced > 0 {
                return Ok(progress.produced);
            }
            if self.ready().is_empty() && !self.at_end {
                self.refill()?;
            }
        }
    }

    /// Turns as many chunks as there are into the output, or has others do it.
    fn turn_batch(&mut self) -> io::Result<()> {
        self.stream.check()?;
        let workers = self.workers().cloned();
        if let Some(workers) = &workers
            && self.turn_shared(&**workers)?
        {
            return Ok(());
        }
        self.gather()?;
        let filled = self.input.filled().len();
        let tags = filled.div_ceil(D::IN).saturating_mul(D::IN.abs_diff(D::OUT));
        // One thread takes chunk after chunk, while it is in the cache.
        let most = if workers.is_some() { usize::MAX } else { D::OUT };
        let mut output = core::mem::take(&mut self.output);
        let expected = filled.saturating_add(tags).saturating_add(self.stream.pending_len());
        output.refill(expected.clamp(MIN_OUTPUT_LEN, most), &[]);
        let turned = self.turn(output.room());
        self.output = output;
        self.output.add(turned?);
        Ok(())
    }

    /// Reads until there is a chunk; less at the end.
    fn gather(&mut self) -> io::Result<()> {
        while self.ready().is_empty() && !self.at_end {
            self.refill()?;
        }
        Ok(())
    }

    /// Keeps as many pieces on their way as there may be, and takes the first for the output;
    /// `false` if none is on its way, since the end is near, or the source has no whole piece.
    fn turn_shared(&mut self, workers: &dyn Workers) -> io::Result<bool> {
        self.feed(workers);
        let Some(turned) = self.pipeline.take() else { return Ok(false) };
        // One for one: what comes piece by piece must not leave buffers here.
        let used = core::mem::replace(&mut self.output, turned.output);
        self.pipeline.recycle(used);
        if let Some(error) = turned.failure {
            self.pipeline.clear();
            self.stream.fail(error);
        }
        // What came before the failure is good; the next call tells of it.
        if self.output.is_empty() {
            self.stream.check()?;
        }
        Ok(true)
    }

    fn feed(&mut self, workers: &dyn Workers) {
        let wanted = piece_chunks(workers).saturating_mul(D::IN);
        while !self.at_end && self.pipeline.has_room(workers) {
            let ready = self.ready().len();
            if ready < wanted {
                if let Err(error) = self.refill() {
                    // What was read before it comes first.
                    self.pending = Some(error);
                    return;
                }
                continue;
            }
            let chunks = ready.checked_div(D::IN).unwrap_or_default();
            let Some(reserved) = self.stream.reserve(chunks) else { return };
            let tail = self.input.filled().get(ready..).unwrap_or_default();
            let next = self.pipeline.buffer(workers, tail);
            let mut input = core::mem::replace(&mut self.input, next);
            input.truncate(ready);
            self.pipeline.send(workers, reserved, input);
        }
    }

    /// Who shares the work, once that is worth it.
    fn workers(&self) -> Option<&Arc<dyn Workers>> {
        self.stream.workers().filter(|_| self.turned >= self.alone)
    }

    /// What the stream can turn now.
    fn ready(&self) -> &[u8] {
        ready::<D>(&self.input, self.at_end)
    }

    /// Reads once.
    fn refill(&mut self) -> io::Result<()> {
        if self.input.filled().len() >= self.target {
            self.target = self.batch_len();
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
        if most == 0 {
            // Nothing read into no room would be taken for the end.
            return Err(io::ErrorKind::WriteZero.into());
        }
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
        let chunks = match self.workers() {
            Some(workers) => piece_chunks(&**workers),
            None if self.turned < LONG_LEN => READ_CHUNKS,
            None => LONG_CHUNKS,
        };
        chunks.saturating_mul(D::IN)
    }
}
