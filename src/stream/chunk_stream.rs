//! The chunks of one body, one after the other: encrypted or decrypted by the same code.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::Progress;
use super::completion::Completion;
use crate::error::Error;
use crate::format::layout::{ENCRYPTED_CHUNK_LEN, MAX_CHUNKS, chunk_after};
use crate::threads::Threads;
use crate::wiped::WipedBuffer;
use alloc::vec::Vec;

#[cfg(test)]
mod limit_tests;

/// The encryption or decryption of chunks.
pub(crate) trait ChunkTransform {
    /// Length in bytes of a full chunk of the input.
    const IN_LEN: usize;
    /// Length in bytes of the output for it.
    const OUT_LEN: usize;

    /// Transforms full chunks, from number `first` on, to `out`. Returns how many bytes of `out`
    /// are valid, and why the chunk behind them failed.
    fn transform(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        threads: Option<&Threads>,
    ) -> (usize, Option<Error>);

    /// Transforms chunk `index` in its buffer.
    fn transform_in_place(&self, index: u64, buffer: &mut WipedBuffer) -> Result<(), Error>;

    /// Fails in a process that must not continue the work of another.
    fn check_process(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the cipher is as fast as memory.
    #[cfg(feature = "std")]
    fn is_fast(&self) -> bool;

    /// Whether the cipher has calls in place alone.
    #[cfg(feature = "std")]
    fn is_in_place_only(&self) -> bool {
        false
    }

    /// Transforms the full chunk at the start of `buffer`, which has room for it before and after.
    /// Returns the length of the output.
    #[cfg(feature = "std")]
    fn transform_at_start(&self, index: u64, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Fails if `buffer` cannot be the last chunk.
    fn check_last(&self, index: u64, buffer: &[u8]) -> Result<(), Error>;
}

/// The use of the buffer of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It fills up to a chunk of the input.
    Filling,
    /// It holds output, of which the first `drained` bytes were returned.
    Draining { drained: usize },
}

/// Takes input in pieces of any length, and outputs the transformed chunks.
pub(crate) struct ChunkStream<'k, T> {
    transform: T,
    threads: Option<Threads>,
    /// The number of the chunk that fills the buffer, or comes next.
    next: u64,
    buffer: WipedBuffer,
    phase: Phase,
    /// No input is taken any more.
    ended: bool,
    /// The last chunk was transformed.
    last_done: bool,
    failure: Option<Error>,
    /// Of a message that is being encrypted.
    completion: Option<Completion<'k>>,
}

impl<'k, T: ChunkTransform> ChunkStream<'k, T> {
    /// Returns a stream that outputs `start`, then chunks from number 0 on.
    pub(crate) fn new(
        transform: T,
        start: Vec<u8>,
        threads: Option<Threads>,
        completion: Option<Completion<'k>>,
    ) -> Self {
        ChunkStream {
            transform,
            threads,
            next: 0,
            buffer: WipedBuffer::from(start),
            phase: Phase::Draining { drained: 0 },
            ended: false,
            last_done: false,
            failure: None,
            completion,
        }
    }

    /// The threads that share the work of a reader or a writer.
    #[cfg(feature = "std")]
    pub(crate) fn threads(&self) -> Option<&Threads> {
        self.threads.as_ref().filter(|threads| threads.share_streams(self.transform.is_fast()))
    }

    /// The same stream, on the calling thread alone.
    #[cfg(feature = "tokio")]
    pub(crate) fn on_one_thread(self) -> Self {
        ChunkStream { threads: None, ..self }
    }

    /// Whether the bytes before chunk 0 are there, and none of them was output.
    fn has_start(&self) -> bool {
        self.phase == Phase::Draining { drained: 0 } && self.next == 0
    }

    /// Takes the bytes before chunk 0, if none of them was output.
    pub(crate) fn take_start(&mut self) -> Vec<u8> {
        if !self.has_start() {
            return Vec::new();
        }
        self.phase = Phase::Filling;
        self.buffer.take_public()
    }

    /// Returns the first bytes of them: all but the last `len`.
    pub(crate) fn start_before(&self, len: usize) -> &[u8] {
        if !self.has_start() {
            return &[];
        }
        &self.buffer[..self.buffer.len().saturating_sub(len)]
    }

    /// Takes the first bytes of them: all but the last `len`.
    pub(crate) fn take_start_before(&mut self, len: usize) -> Vec<u8> {
        let mut start = self.take_start();
        let rest = start.split_off(start.len().saturating_sub(len));
        if !rest.is_empty() {
            self.buffer = WipedBuffer::from(rest);
            self.phase = Phase::Draining { drained: 0 };
        }
        start
    }

    /// Whether [`Self::finish`] withholds no output that waits for room.
    #[cfg(feature = "std")]
    pub(crate) fn can_finish(&self) -> bool {
        self.ended || self.phase == Phase::Filling
    }

    /// Bytes of output that wait for room.
    pub(crate) fn pending_len(&self) -> usize {
        match self.phase {
            Phase::Filling => 0,
            Phase::Draining { drained } => self.buffer.len() - drained,
        }
    }

    /// Bytes of input up to the next end of a chunk; 0 between chunks with nothing waiting.
    #[cfg(feature = "std")]
    pub(crate) fn missing_len(&self) -> usize {
        match self.phase {
            _ if self.buffer.is_empty() => 0,
            Phase::Filling => T::IN_LEN - self.buffer.len(),
            Phase::Draining { .. } => T::IN_LEN,
        }
    }

    /// Returns whether the end was reached and all output was returned.
    pub(crate) fn is_finished(&self) -> bool {
        self.last_done && self.phase == Phase::Filling && self.failure.is_none()
    }

    /// Takes from `input` and gives to `out` as much as possible.
    pub(crate) fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        self.check()?;
        if self.ended {
            return Err(Error::Ended);
        }
        let mut progress = Progress::default();
        while self.failure.is_none() {
            progress.produced += self.drain(&mut out[progress.produced..]);
            let room = &mut out[progress.produced..];
            let rest = &input[progress.consumed..];
            if self.phase != Phase::Filling || rest.is_empty() {
                break;
            }
            // A whole chunk that no longer fits goes straight through the next time.
            let waits =
                self.buffer.is_empty() && rest.len() >= T::IN_LEN && room.len() < T::OUT_LEN;
            if waits && progress.produced > 0 {
                break;
            }
            let step = match self.whole_chunks(rest.len(), room.len()) {
                0 => self.fill(rest, room),
                chunks => self.transform_chunks(chunks, rest, room),
            };
            progress.consumed += step.consumed;
            progress.produced += step.produced;
        }
        // The output before the failure is valid; the next call returns the failure.
        if progress.produced == 0 {
            self.check()?
        }
        Ok(progress)
    }

    /// Whether the cipher works where a chunk stands: a copy of it is then a pass more.
    #[cfg(feature = "std")]
    pub(crate) fn is_in_place_only(&self) -> bool {
        self.transform.is_in_place_only()
    }

    /// Whether the next chunk of the input can be transformed by [`Self::transform_at_start`].
    #[cfg(feature = "std")]
    pub(crate) fn is_between_chunks(&self) -> bool {
        let is_idle = self.phase == Phase::Filling && self.buffer.is_empty();
        is_idle && !self.ended && self.failure.is_none() && full_chunks_left(self.next) > 0
    }

    /// Transforms the full chunk at the start of `buffer` there, and returns the length of the output.
    #[cfg(feature = "std")]
    pub(crate) fn transform_at_start(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let transformed = self.transform.transform_at_start(self.next, buffer);
        let len = self.sticky(transformed)?;
        self.next = chunk_after(self.next, 1);
        Ok(len)
    }

    /// Ends the input and outputs the rest: 0 bytes once there is none. The first call that
    /// succeeds proves the end, whatever the room in `out`.
    pub(crate) fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.check()?;
        self.check_process()?;
        self.check_completion()?;
        self.check_end()?;
        self.ended = true;
        let mut produced = self.drain(out);
        if self.phase == Phase::Filling && !self.last_done {
            self.last_done = true;
            let last = self.transform.check_last(self.next, &self.buffer);
            match last.and_then(|()| self.transform_buffer()) {
                Ok(()) => produced += self.drain(&mut out[produced..]),
                Err(error) => self.fail(error),
            }
        }
        if self.is_finished() {
            self.disarm();
        }
        if produced == 0 {
            self.check()?;
            // 0 means that nothing is left, not that there was no room.
            let needed = self.pending_len();
            if needed > 0 {
                return Err(Error::BufferLength { len: out.len(), needed });
            }
        }
        Ok(produced)
    }

    /// Returns the failure, if there was one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Fails with `error` from now on.
    fn fail(&mut self, error: Error) {
        self.buffer.truncate(0);
        self.failure = Some(error);
        self.disarm();
    }

    /// No event is due for a stream that has ended, or whose failure was returned.
    fn disarm(&mut self) {
        self.completion.iter_mut().for_each(Completion::disarm);
    }

    /// Fails from now on in a process that must not continue.
    pub(crate) fn check_process(&mut self) -> Result<(), Error> {
        self.sticky(self.transform.check_process())
    }

    /// Fails if no chunk can end here while output waits: that would otherwise look like the rest of a
    /// whole message (SPEC B-STREAM).
    fn check_end(&mut self) -> Result<(), Error> {
        if self.last_done || self.phase == Phase::Filling {
            return Ok(());
        }
        self.sticky(self.transform.check_last(self.next, &[]))
    }

    /// Keeps an error for every later call.
    fn sticky<U>(&mut self, result: Result<U, Error>) -> Result<U, Error> {
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        result
    }

    /// Checks before the last chunk that the message will open. If the keyring is unavailable, the call can
    /// be repeated.
    fn check_completion(&mut self) -> Result<(), Error> {
        let completion = self.completion.as_ref().filter(|_| !self.last_done);
        match completion.map_or(Ok(()), Completion::check) {
            Err(error) if error.is_retryable() => Err(error),
            result => self.sticky(result),
        }
    }

    fn drain(&mut self, out: &mut [u8]) -> usize {
        let Phase::Draining { drained } = self.phase else { return 0 };
        let rest = &self.buffer[drained..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        let drained = drained + len;
        self.phase = Phase::Draining { drained };
        if drained >= self.buffer.len() {
            self.buffer.truncate(0);
            self.phase = Phase::Filling;
        }
        len
    }

    /// The number of chunks that can go straight from input to output.
    fn whole_chunks(&self, input_len: usize, room: usize) -> usize {
        if !self.buffer.is_empty() {
            return 0;
        }
        let most = usize::try_from(full_chunks_left(self.next)).unwrap_or(usize::MAX);
        (input_len / T::IN_LEN).min(room / T::OUT_LEN).min(most)
    }

    fn transform_chunks(&mut self, chunks: usize, input: &[u8], out: &mut [u8]) -> Progress {
        let consumed = chunks * T::IN_LEN;
        let input = &input[..consumed];
        let out = &mut out[..chunks * T::OUT_LEN];
        let threads = self.threads.as_ref();
        let (produced, failure) = self.transform.transform(self.next, input, out, threads);
        self.next = chunk_after(self.next, chunks);
        if let Some(error) = failure {
            self.fail(error);
        }
        Progress { consumed, produced }
    }

    fn fill(&mut self, input: &[u8], out: &mut [u8]) -> Progress {
        let missing = T::IN_LEN - self.buffer.len();
        let piece = input.get(..missing).unwrap_or(input);
        // A short message does not cost a long buffer.
        self.buffer.push_slice(piece, ENCRYPTED_CHUNK_LEN);
        let mut progress = Progress { consumed: piece.len(), produced: 0 };
        if self.buffer.len() == T::IN_LEN {
            match self.transform_full(out) {
                Ok(produced) => progress.produced = produced,
                Err(error) => self.fail(error),
            }
        }
        progress
    }

    /// Transforms the chunk in the buffer, straight to `out` if it fits there.
    fn transform_full(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        if full_chunks_left(self.next) == 0 {
            return Err(Error::MessageTooLong);
        }
        let Some(out) = out.get_mut(..T::OUT_LEN) else {
            return self.transform_buffer().map(|()| 0);
        };
        let (produced, failure) = self.transform.transform(self.next, &self.buffer, out, None);
        failure.map_or(Ok(()), Err)?;
        self.next = chunk_after(self.next, 1);
        self.buffer.truncate(0);
        Ok(produced)
    }

    fn transform_buffer(&mut self) -> Result<(), Error> {
        self.transform.transform_in_place(self.next, &mut self.buffer)?;
        self.next = chunk_after(self.next, 1);
        self.phase = Phase::Draining { drained: 0 };
        Ok(())
    }
}

/// The number of full chunks that may still come: a shorter one must follow (SPEC B-MAX, B-LAST).
fn full_chunks_left(next: u64) -> u64 {
    // Saturates: none are left behind the last.
    (MAX_CHUNKS - 1).saturating_sub(next)
}
