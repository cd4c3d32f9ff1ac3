//! Pieces of a stream on their way through several threads, given out in their order.
//!
//! A piece is some whole chunks, with buffers of its own for what comes in and what goes out. It
//! waits, until a job in the pool or the calling thread takes it out and turns it, then it waits to
//! be given out. The calling thread turns what waits rather than wait itself: it waits only for
//! what another thread is at work on. So nothing depends on a pool that is busy, drops its jobs, or
//! is the one that calls.
//!
//! Jobs know the line of pieces only as long as there is one: they do nothing after the stream.

use super::buffer::Buffer;
use crate::body::layout::CHUNK_LEN;
use crate::error::Error;
use crate::stream::Direction;
use crate::sync::lock;
use crate::workers::Workers;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use std::sync::{Condvar, Mutex, PoisonError};

#[cfg(test)]
mod tests;

/// The most chunks of a piece: 64 KiB in, as much out. All pieces for two threads stay in the
/// cache of a core, also when the other one does not come.
const PIECE_CHUNKS: usize = 4;

/// Pieces for each thread: what the others have to do while this one reads or writes.
const PIECES_PER_THREAD: usize = 4;

/// The most pieces there are, 8 MiB, however many threads.
const MAX_PIECES: usize = 64;

/// Pieces that wait for each other thread before this one takes its part without a copy.
const ENOUGH_PER_THREAD: usize = 2;

/// Pieces that one job turns at the most, 4 MiB: then it is others' turn in the pool.
const PIECES_PER_JOB: usize = 64;

/// How many chunks are turned at a time: fewer where `workers` find less worth sharing.
pub(super) fn piece_chunks(workers: &dyn Workers) -> usize {
    workers.least_len().div_ceil(CHUNK_LEN).clamp(1, PIECE_CHUNKS)
}

/// How many threads there are besides the calling one, which takes its part, too.
fn others(workers: &dyn Workers) -> usize {
    workers.threads().saturating_sub(1).max(1)
}

/// Whole chunks, from number `first` on.
#[derive(Default)]
struct Piece {
    first: u64,
    input: Buffer,
    output: Buffer,
    is_turned: bool,
    /// Why a chunk failed: behind what is in the output.
    failure: Option<Error>,
}

/// Where a piece stands in the line.
enum Place {
    Here(Piece),
    /// With a thread that turns it.
    Away {
        first: u64,
    },
}

impl Place {
    fn waits(&self) -> bool {
        matches!(self, Place::Here(piece) if !piece.is_turned)
    }

    fn claim(&mut self) -> Option<Piece> {
        let Place::Here(piece) = self else { return None };
        let piece = core::mem::take(piece);
        *self = Place::Away { first: piece.first };
        Some(piece)
    }
}

/// What the threads share.
struct Line<D> {
    direction: Arc<D>,
    state: Mutex<State>,
    /// A piece came back.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    places: VecDeque<Place>,
    /// Jobs that are with the pool.
    jobs: usize,
    /// The calling thread waits for a piece.
    is_awaited: bool,
}

impl State {
    /// Takes out the first piece that waits, for a job.
    fn claim(&mut self) -> Option<Piece> {
        self.places.iter_mut().find(|place| place.waits())?.claim()
    }

    /// Takes out a piece that waits, for the calling thread: the first of all, else the last, which
    /// is still in the cache of that thread.
    fn claim_here(&mut self) -> Option<Piece> {
        if let Some(first) = self.places.front_mut().filter(|place| place.waits()) {
            return first.claim();
        }
        self.places.iter_mut().rfind(|place| place.waits())?.claim()
    }

    fn waiting(&self) -> usize {
        self.places.iter().filter(|place| place.waits()).count()
    }

    /// Puts a piece back where it was; drops it if the stream is gone, and its place with it.
    fn put_back(&mut self, piece: Piece) {
        let is_its =
            |place: &&mut Place| matches!(place, Place::Away { first } if *first == piece.first);
        if let Some(place) = self.places.iter_mut().find(is_its) {
            *place = Place::Here(piece);
        }
    }
}

/// Turns whole chunks, and answers why one failed.
fn turn<D: Direction>(
    direction: &D,
    first: u64,
    input: &[u8],
    output: &mut Buffer,
) -> Option<Error> {
    let chunks = input.len().checked_div(D::IN).unwrap_or_default();
    let len = chunks.saturating_mul(D::OUT);
    output.refill(len, &[]);
    let room = output.room().get_mut(..len).unwrap_or_default();
    let (len, failure) = direction.run(first, input, room, None);
    output.add(len);
    failure
}

/// A piece that a thread turns. It is put back when this is dropped: after a panic as it was, for
/// whoever comes next.
struct Claim<'l, D> {
    line: &'l Line<D>,
    piece: Piece,
}

impl<D: Direction> Claim<'_, D> {
    fn turn(&mut self) {
        let Piece { first, input, output, is_turned, failure } = &mut self.piece;
        *failure = turn(&*self.line.direction, *first, input.filled(), output);
        *is_turned = true;
    }
}

impl<D> Drop for Claim<'_, D> {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        state.put_back(core::mem::take(&mut self.piece));
        if state.is_awaited {
            self.line.returned.notify_one();
        }
    }
}

impl<D: Direction> Line<D> {
    fn new(direction: Arc<D>) -> Self {
        Line { direction, state: Mutex::default(), returned: Condvar::new() }
    }

    /// The first piece of all, turned; `None` if there is none.
    fn take(&self) -> Option<Piece> {
        loop {
            let mut state = lock(&self.state);
            match state.places.pop_front()? {
                Place::Here(piece) if piece.is_turned => return Some(piece),
                place => state.places.push_front(place),
            }
            if let Some(piece) = state.claim_here() {
                drop(state);
                Claim { line: self, piece }.turn();
            } else {
                state.is_awaited = true;
                state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_awaited = false;
            }
        }
    }
}

/// A job of the pool, which counts until it is dropped, run or not.
struct Job<D>(Weak<Line<D>>);

impl<D: Direction> Job<D> {
    fn run(self) {
        for _ in 0..PIECES_PER_JOB {
            let Some(line) = self.0.upgrade() else { return };
            let Some(piece) = lock(&line.state).claim() else { return };
            Claim { line: &line, piece }.turn();
        }
    }
}

impl<D> Drop for Job<D> {
    fn drop(&mut self) {
        if let Some(line) = self.0.upgrade() {
            let mut state = lock(&line.state);
            state.jobs = state.jobs.saturating_sub(1);
        }
    }
}

/// A piece that was turned.
pub(super) struct Turned {
    /// What was made of it, up to the chunk that failed.
    pub(super) output: Buffer,
    pub(super) failure: Option<Error>,
}

/// The pieces of one stream.
pub(super) struct Pipeline<D> {
    /// Made for the first piece: a short message has none.
    line: Option<Arc<Line<D>>>,
    /// Buffers that were used, for the pieces to come.
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
}

impl<D: Direction> Pipeline<D> {
    /// How many pieces are on their way.
    fn len(&self) -> usize {
        self.line.as_ref().map_or(0, |line| lock(&line.state).places.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one more piece may be on its way.
    pub(super) fn has_room(&self, workers: &dyn Workers) -> bool {
        let most = workers.threads().max(1).saturating_mul(PIECES_PER_THREAD).min(MAX_PIECES);
        self.len() < most
    }

    /// An empty buffer for the input of a piece, with `filled` at its start.
    pub(super) fn buffer(&mut self, workers: &dyn Workers, filled: &[u8]) -> Buffer {
        let mut buffer = self.inputs.pop().unwrap_or_default();
        let len = piece_chunks(workers).saturating_mul(D::IN);
        buffer.refill(len.max(filled.len()), filled);
        buffer
    }

    /// Sends whole chunks on their way, as they were reserved: from number `first` on, through
    /// `direction`.
    pub(super) fn send(
        &mut self,
        workers: &dyn Workers,
        (first, direction): (u64, Arc<D>),
        input: Buffer,
    ) {
        let output = self.outputs.pop().unwrap_or_default();
        let piece = Piece { first, input, output, ..Piece::default() };
        let line = self.line.get_or_insert_with(|| Arc::new(Line::new(direction)));
        let most = others(workers);
        let is_job_wanted = {
            let mut state = lock(&line.state);
            state.places.push_back(Place::Here(piece));
            let is_wanted = state.jobs < most;
            state.jobs = state.jobs.saturating_add(usize::from(is_wanted));
            is_wanted
        };
        if is_job_wanted {
            let job = Job(Arc::downgrade(line));
            workers.spawn(Box::new(move || job.run()));
        }
    }

    /// Whether the other threads have enough to do, so that this one need not copy for them.
    pub(super) fn has_enough(&self, workers: &dyn Workers) -> bool {
        let waiting = self.line.as_ref().map_or(0, |line| lock(&line.state).waiting());
        waiting >= others(workers).saturating_mul(ENOUGH_PER_THREAD)
    }

    /// Turns whole chunks at once, which need not be copied then.
    pub(super) fn turn(&mut self, (first, direction): (u64, Arc<D>), input: &[u8]) {
        let mut output = self.outputs.pop().unwrap_or_default();
        let failure = turn(&*direction, first, input, &mut output);
        let piece = Piece { first, output, is_turned: true, failure, ..Piece::default() };
        let line = self.line.get_or_insert_with(|| Arc::new(Line::new(direction)));
        lock(&line.state).places.push_back(Place::Here(piece));
    }

    /// What has been longest on its way, once it is turned; `None` if nothing is on its way.
    pub(super) fn take(&mut self) -> Option<Turned> {
        let Piece { input, output, failure, .. } = self.line.as_ref()?.take()?;
        if input.capacity() > 0 {
            self.inputs.push(input);
        }
        Some(Turned { output, failure })
    }

    /// Takes a buffer back that was given out.
    pub(super) fn recycle(&mut self, output: Buffer) {
        self.outputs.push(output);
    }
}

impl<D> Pipeline<D> {
    /// Drops all that is on its way, but a piece that a thread is at work on: with that.
    pub(super) fn clear(&mut self) {
        if let Some(line) = &self.line {
            let places = core::mem::take(&mut lock(&line.state).places);
            drop(places);
        }
    }
}

impl<D> Default for Pipeline<D> {
    fn default() -> Self {
        Pipeline { line: None, inputs: Vec::new(), outputs: Vec::new() }
    }
}

impl<D> Drop for Pipeline<D> {
    fn drop(&mut self) {
        self.clear();
    }
}
