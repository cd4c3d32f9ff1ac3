//! From a reader through the chunks: what both readers are made of.

use super::error::{Latch, uninterrupted};
use super::{LONG_CHUNKS, LONG_LEN, alone, batch};
use crate::plain_buffer::PlainBuffer;
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

/// Bytes of which those from `start` to `end` count. Wiped on drop, and never grown in place.
#[derive(Default)]
struct Buffer {
    bytes: PlainBuffer,
    start: usize,
    end: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// What can be turned without gathering: whole chunks, or at the end all of it.
    fn ready<D: Direction>(&self, at_end: bool) -> &[u8] {
        let filled = self.filled();
        let part = if at_end { 0 } else { filled.len().checked_rem(D::IN).unwrap_or_default() };
        filled.get(..filled.len().saturating_sub(part)).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
    }

    /// Makes it `len` bytes long, with `filled` at its start.
    fn refill(&mut self, len: usize, filled: &[u8]) {
        if self.bytes.len() < len {
            self.bytes = PlainBuffer::zeros(len);
        }
        if let Some(room) = self.bytes.get_mut(..filled.len()) {
            room.copy_from_slice(filled);
        }
        (self.start, self.end) = (0, filled.len());
    }

    /// Moves what counts to the start.
    fn compact(&mut self) {
        let filled = self.start..self.end;
        (self.start, self.end) = (0, filled.len());
        if filled.start > 0 {
            self.bytes.copy_within(filled, 0);
        }
    }

    /// Counts `len` bytes more, as far as there are so many.
    fn add(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.bytes.len());
    }

    fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

/// Reads from `source`, turns chunks, and gives them out.
pub(super) struct Pump<R, D> {
    source: R,
    stream: ChunkStream<D>,
    /// What was read and is not turned yet.
    input: Buffer,
    /// Takes turns with `input`: filled while the other is worked on.
    ahead: Buffer,
    /// What is turned and not given out yet.
    output: Buffer,
    /// How much is read at a time: more once the source has shown that it has more.
    target: usize,
    /// How many bytes one thread has turned, and from how many on others share the work.
    turned: u64,
    alone: u64,
    /// The source has nothing more.
    at_end: bool,
    /// What the source failed with while others worked: told when it would be asked again.
    pending: Option<io::Error>,
    latch: Latch,
}

impl<R: Read, D: Direction> Pump<R, D> {
    /// Goes on behind what was read `ahead` of the chunks.
    pub(super) fn new(source: R, stream: ChunkStream<D>, ahead: &[u8]) -> Self {
        let mut input = Buffer::default();
        input.refill(ahead.len(), ahead);
        let (ahead, output, target) = (Buffer::default(), Buffer::default(), FIRST_LEN);
        let alone = alone(stream.workers().map(Arc::as_ref));
        Pump {
            source,
            stream,
            input,
            ahead,
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
            let ready = self.input.ready::<D>(self.at_end);
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

    /// Turns as many chunks as there are into the output, and reads ahead meanwhile if others do
    /// the work.
    fn turn_batch(&mut self) -> io::Result<()> {
        self.gather()?;
        let filled = self.input.filled().len();
        let tags = filled.div_ceil(D::IN).saturating_mul(D::IN.abs_diff(D::OUT));
        let workers = self.workers().cloned();
        // One thread takes chunk after chunk, while it is in the cache.
        let most = if workers.is_some() { usize::MAX } else { D::OUT };
        let mut output = core::mem::take(&mut self.output);
        let expected = filled.saturating_add(tags).saturating_add(self.stream.pending_len());
        output.refill(expected.clamp(MIN_OUTPUT_LEN, most), &[]);
        let turned = match workers {
            Some(workers) if self.ready().len() >= self.shared_len() && !self.at_end => {
                self.turn_beside_reading(&*workers, output.room())
            }
            _ => self.turn(output.room()),
        };
        self.output = output;
        self.output.end = turned?;
        Ok(())
    }

    /// Reads until there is a chunk, or what several threads share; less at the end, or if the
    /// source has nothing more for now.
    fn gather(&mut self) -> io::Result<()> {
        let wanted = if self.workers().is_some() { self.shared_len() } else { 1 };
        while self.ready().len() < wanted && !self.at_end {
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

    fn turn_beside_reading(&mut self, workers: &dyn Workers, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.ready().len();
        let filled = self.input.filled();
        let (whole, tail) = filled.split_at(ready.min(filled.len()));
        self.ahead.refill(batch(Some(workers)).saturating_mul(D::IN), tail);
        let (stream, source, ahead) = (&mut self.stream, &mut self.source, &mut self.ahead);
        let mut turned = None;
        let mut read = None;
        let mut read_once = || {
            read.get_or_insert_with(|| uninterrupted(|| source.read(ahead.room())));
        };
        let mut turn = || {
            turned.get_or_insert_with(|| stream.update(whole, out));
        };
        if self.pending.is_none() {
            workers.overlap(&mut read_once, &mut turn);
        }
        let progress = match turned {
            Some(turned) => turned,
            None => stream.update(whole, out),
        }?;
        if progress.consumed != whole.len() {
            // There was room for all of it. What is not taken here is lost.
            return Err(io::ErrorKind::WriteZero.into());
        }
        core::mem::swap(&mut self.input, &mut self.ahead);
        match read {
            Some(Ok(len)) => {
                self.at_end = len == 0;
                self.input.add(len);
            }
            Some(Err(error)) => self.pending = Some(error),
            None => {}
        }
        Ok(progress.produced)
    }

    /// Who shares the work, once that is worth it.
    fn workers(&self) -> Option<&Arc<dyn Workers>> {
        self.stream.workers().filter(|_| self.turned >= self.alone)
    }

    /// What the stream can turn now.
    fn ready(&self) -> &[u8] {
        self.input.ready::<D>(self.at_end)
    }

    /// Reads once.
    fn refill(&mut self) -> io::Result<()> {
        if self.input.filled().len() >= self.target {
            self.target = self.batch_len();
        }
        if self.input.bytes.len() < self.target {
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

    /// What is worth sharing among threads. A full buffer holds as much.
    fn shared_len(&self) -> usize {
        let least = self.workers().map_or(0, |workers| workers.least_len());
        least.div_ceil(D::IN).max(1).saturating_mul(D::IN).min(self.batch_len())
    }

    /// A full buffer: it ends where a chunk does.
    fn batch_len(&self) -> usize {
        let chunks = match self.workers() {
            Some(workers) => batch(Some(&**workers)),
            None if self.turned < LONG_LEN => READ_CHUNKS,
            None => LONG_CHUNKS,
        };
        chunks.saturating_mul(D::IN)
    }
}
