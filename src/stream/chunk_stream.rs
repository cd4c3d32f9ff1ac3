//! Bytes in, chunks through, bytes out: one machine for both directions.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::{Progress, slots::StreamSlots, unfinished::Unfinished};
use crate::body::layout::{ENCRYPTED_CHUNK_LEN, MAX_CHUNKS, chunk_after};
use crate::error::Error;
use crate::plain_buffer::PlainBuffer;
use crate::threads::Threads;
use alloc::vec::Vec;

#[cfg(test)]
mod limits;

/// One direction: what a full chunk is before and after, and how it becomes so.
pub(crate) trait Direction {
    /// Length in bytes of a full chunk that comes in.
    const IN: usize;
    /// Length in bytes of what goes out for it.
    const OUT: usize;

    /// Turns full chunks, from number `first` on, into `out`. Answers how many bytes of `out` hold
    /// good, and why the chunk behind them failed.
    fn run(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        threads: Option<&Threads>,
    ) -> (usize, Option<Error>);

    /// Turns chunk `index` in place.
    fn chunk(&self, index: u64, buffer: &mut PlainBuffer) -> Result<(), Error>;

    /// Fails in a process that may not go on with what another began.
    fn check_process(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether what is in `buffer` can be the last chunk.
    fn check_last(&self, index: u64, buffer: &[u8]) -> Result<(), Error>;
}

/// Where the one buffer of a stream stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It gathers a chunk.
    Gathering,
    /// It gives out what is behind the first `given` bytes.
    Giving { given: usize },
}

/// The chunks of one body, one after the other.
pub(crate) struct ChunkStream<'k, D> {
    direction: D,
    threads: Option<Threads>,
    /// The number of the chunk that is gathered, or comes next.
    next: u64,
    buffer: PlainBuffer,
    phase: Phase,
    /// No more comes in.
    ended: bool,
    /// The last chunk is turned.
    last_turned: bool,
    failure: Option<Error>,
    /// What must still be usable at the end.
    slots: Option<StreamSlots<'k>>,
    /// Who is told if it is dropped before its end.
    unfinished: Option<Unfinished>,
}

impl<'k, D: Direction> ChunkStream<'k, D> {
    /// A stream that gives out `start`, then chunks from number 0 on.
    pub(crate) fn new(direction: D, start: Vec<u8>, threads: Option<Threads>) -> Self {
        let phase = Phase::Giving { given: 0 };
        let buffer = PlainBuffer::from(start);
        ChunkStream {
            direction,
            threads,
            next: 0,
            buffer,
            phase,
            ended: false,
            last_turned: false,
            failure: None,
            slots: None,
            unfinished: None,
        }
    }

    /// The same stream, which does not end unless its slots can still be used.
    pub(crate) fn with_slots(self, slots: Option<StreamSlots<'k>>) -> Self {
        ChunkStream { slots, ..self }
    }

    /// The same stream, which is told of if it is dropped before its end.
    pub(crate) fn with_unfinished(self, unfinished: Unfinished) -> Self {
        ChunkStream { unfinished: Some(unfinished), ..self }
    }

    /// The threads that share the work.
    #[cfg(feature = "std")]
    pub(crate) fn threads(&self) -> Option<&Threads> {
        self.threads.as_ref()
    }

    /// The same stream, on the calling thread alone.
    #[cfg(feature = "std")]
    pub(crate) fn alone(self) -> Self {
        ChunkStream { threads: None, ..self }
    }

    /// What is to be given out before anything was.
    #[cfg(feature = "std")]
    pub(crate) fn take_start(&mut self) -> Vec<u8> {
        if self.phase != (Phase::Giving { given: 0 }) || self.next > 0 {
            return Vec::new();
        }
        self.phase = Phase::Gathering;
        self.buffer.take_public()
    }

    /// Whether [`Self::finish`] takes back nothing that waits to be given out.
    #[cfg(feature = "std")]
    pub(crate) fn can_finish(&self) -> bool {
        self.ended || self.phase == Phase::Gathering
    }

    /// Bytes that wait for room to be given out.
    #[cfg(feature = "std")]
    pub(crate) fn pending_len(&self) -> usize {
        match self.phase {
            Phase::Gathering => 0,
            Phase::Giving { given } => self.buffer.len() - given,
        }
    }

    /// Bytes up to the next end of a chunk, if one was begun or waits to be given out.
    #[cfg(feature = "std")]
    pub(crate) fn missing_len(&self) -> usize {
        match self.phase {
            _ if self.buffer.is_empty() => 0,
            Phase::Gathering => D::IN - self.buffer.len(),
            Phase::Giving { .. } => D::IN,
        }
    }

    /// Whether all was given out after the end.
    pub(crate) fn is_finished(&self) -> bool {
        self.last_turned && self.phase == Phase::Gathering && self.failure.is_none()
    }

    /// Takes from `input` and gives to `out` as much as there is and fits.
    pub(crate) fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        self.check()?;
        if self.ended {
            return Err(Error::Ended);
        }
        let mut progress = Progress::default();
        while self.failure.is_none() {
            let room = &mut out[progress.produced..];
            let given = self.give(room);
            progress.produced += given;
            let room = &mut out[progress.produced..];
            let rest = &input[progress.consumed..];
            if self.phase != Phase::Gathering || rest.is_empty() {
                break;
            }
            // A whole chunk that no longer fits goes straight through the next time.
            let waits = self.buffer.is_empty() && rest.len() >= D::IN && room.len() < D::OUT;
            if waits && progress.produced > 0 {
                break;
            }
            let step = match self.whole_chunks(rest.len(), room.len()) {
                0 => self.gather(rest, room),
                chunks => self.run(chunks, rest, room),
            };
            progress.consumed += step.consumed;
            progress.produced += step.produced;
        }
        // What came before the failure is good; the next call tells of it.
        if progress.produced == 0 {
            self.check()?
        }
        Ok(progress)
    }

    /// Ends the input, and gives out what is left. Answers 0 once nothing is. The first answer
    /// that is no error proves the end, whatever the room in `out`.
    pub(crate) fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.check()?;
        self.check_process()?;
        self.check_slots()?;
        self.check_end()?;
        self.ended = true;
        let mut produced = self.give(out);
        if self.phase == Phase::Gathering && !self.last_turned {
            self.last_turned = true;
            let last = self.direction.check_last(self.next, &self.buffer);
            match last.and_then(|()| self.turn_chunk()) {
                Ok(()) => {
                    let room = &mut out[produced..];
                    let given = self.give(room);
                    produced += given;
                }
                Err(error) => self.fail(error),
            }
        }
        if self.is_finished() {
            self.call_off();
        }
        if produced == 0 {
            self.check()?;
            // 0 says that nothing is left, not that there was no room for it.
            if let Phase::Giving { given } = self.phase {
                let needed = self.buffer.len() - given;
                return Err(Error::BufferLength { len: out.len(), needed });
            }
        }
        Ok(produced)
    }

    /// What it failed with.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Fails with `error` from now on.
    fn fail(&mut self, error: Error) {
        self.buffer.truncate(0);
        self.failure = Some(error);
        self.call_off();
    }

    /// It has ended, or its failure is told: nobody need be told that it is dropped.
    fn call_off(&mut self) {
        self.unfinished.iter_mut().for_each(Unfinished::call_off);
    }

    /// Fails for ever in a process that may not go on.
    pub(crate) fn check_process(&mut self) -> Result<(), Error> {
        self.latched(self.direction.check_process())
    }

    /// Fails where nothing can come behind what waits to be given out: else that would be taken for
    /// the rest of a whole message (SPEC B-STREAM).
    fn check_end(&mut self) -> Result<(), Error> {
        if self.last_turned || self.phase == Phase::Gathering {
            return Ok(());
        }
        self.latched(self.direction.check_last(self.next, &[]))
    }

    /// Keeps an error for ever.
    fn latched(&mut self, answer: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &answer {
            self.fail(error.clone());
        }
        answer
    }

    /// Makes sure that the message will open, before its last chunk is made. What the keyring
    /// cannot tell now can be asked again.
    fn check_slots(&mut self) -> Result<(), Error> {
        let Some(slots) = self.slots.as_ref().filter(|_| !self.last_turned) else { return Ok(()) };
        match slots.check() {
            Err(error) if !error.is_retryable() => {
                self.fail(error.clone());
                Err(error)
            }
            answer => answer,
        }
    }

    fn give(&mut self, out: &mut [u8]) -> usize {
        let Phase::Giving { given } = self.phase else { return 0 };
        let rest = &self.buffer[given..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        let given = given + len;
        self.phase = Phase::Giving { given };
        if given >= self.buffer.len() {
            self.buffer.truncate(0);
            self.phase = Phase::Gathering;
        }
        len
    }

    /// How many chunks can go straight from input to output.
    fn whole_chunks(&self, input_len: usize, room: usize) -> usize {
        if !self.buffer.is_empty() {
            return 0;
        }
        let most = usize::try_from(full_chunks_left(self.next)).unwrap_or(usize::MAX);
        (input_len / D::IN).min(room / D::OUT).min(most)
    }

    fn run(&mut self, chunks: usize, input: &[u8], out: &mut [u8]) -> Progress {
        let consumed = chunks * D::IN;
        let input = &input[..consumed];
        let out = &mut out[..chunks * D::OUT];
        let threads = self.threads.as_ref();
        let (produced, failure) = self.direction.run(self.next, input, out, threads);
        self.next = chunk_after(self.next, chunks);
        if let Some(error) = failure {
            self.fail(error);
        }
        Progress { consumed, produced }
    }

    fn gather(&mut self, input: &[u8], out: &mut [u8]) -> Progress {
        let missing = D::IN - self.buffer.len();
        let piece = input.get(..missing).unwrap_or(input);
        // A short message does not cost a long buffer.
        self.buffer.push_slice(piece, ENCRYPTED_CHUNK_LEN);
        let mut progress = Progress { consumed: piece.len(), produced: 0 };
        if self.buffer.len() == D::IN {
            match self.turn_full(out) {
                Ok(produced) => progress.produced = produced,
                Err(error) => self.fail(error),
            }
        }
        progress
    }

    /// Turns the chunk that is gathered, straight into `out` if it fits there.
    fn turn_full(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        if full_chunks_left(self.next) == 0 {
            return Err(Error::MessageTooLong);
        }
        let Some(out) = out.get_mut(..D::OUT) else { return self.turn_chunk().map(|()| 0) };
        let (produced, failure) = self.direction.run(self.next, &self.buffer, out, None);
        failure.map_or(Ok(()), Err)?;
        self.next = chunk_after(self.next, 1);
        self.buffer.truncate(0);
        Ok(produced)
    }

    fn turn_chunk(&mut self) -> Result<(), Error> {
        self.direction.chunk(self.next, &mut self.buffer)?;
        self.next = chunk_after(self.next, 1);
        self.phase = Phase::Giving { given: 0 };
        Ok(())
    }
}

/// How many full chunks may still come: a shorter one must follow (SPEC B-MAX, B-LAST).
fn full_chunks_left(next: u64) -> u64 {
    // Saturates: none are left behind the last.
    (MAX_CHUNKS - 1).saturating_sub(next)
}
