//! Jobs that break half-way, or come too late, and what a pipeline holds.

use super::*;
use crate::plain_buffer::PlainBuffer;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Turns chunks of 4 bytes into chunks of 5, if what comes before it does not break.
struct Turning<F> {
    before: F,
    turned: AtomicUsize,
}

fn turning<F: Fn(u64)>(before: F) -> Arc<Turning<F>> {
    Arc::new(Turning { before, turned: AtomicUsize::new(0) })
}

/// Panics so often, at the chunk of that number.
fn breaking(at: u64, times: usize) -> Arc<Turning<impl Fn(u64) + Send + Sync>> {
    let left = AtomicUsize::new(times);
    turning(move |first| {
        if first == at && left.load(Ordering::Relaxed) > 0 {
            left.fetch_sub(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("broken"));
        }
    })
}

fn unbroken() -> Arc<Turning<fn(u64)>> {
    turning(|_| {})
}

impl<F: Fn(u64) + Send + Sync + 'static> Direction for Turning<F> {
    const IN: usize = 4;
    const OUT: usize = 5;

    fn run(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        _: Option<&dyn Workers>,
    ) -> (usize, Option<Error>) {
        (self.before)(first);
        self.turned.fetch_add(1, Ordering::Relaxed);
        for (input, out) in input.chunks(4).zip(out.chunks_mut(5)) {
            out[..4].copy_from_slice(input);
            out[4] = first as u8;
        }
        (out.len(), None)
    }

    fn chunk(&self, _: u64, _: &mut PlainBuffer) -> Result<(), Error> {
        Ok(())
    }

    fn check_last(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// Keeps the jobs.
#[derive(Default)]
struct Kept(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Kept {
    fn take(&self) -> Vec<Box<dyn FnOnce() + Send>> {
        core::mem::take(&mut lock(&self.0))
    }
}

impl Workers for Kept {
    fn join(&self, _: &mut (dyn FnMut() + Send), _: &mut (dyn FnMut() + Send)) {}

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        lock(&self.0).push(job);
    }

    fn threads(&self) -> usize {
        3
    }
}

fn send<D: Direction>(pipeline: &mut Pipeline<D>, pool: &Kept, direction: &Arc<D>, first: u64) {
    let mut input = Buffer::default();
    input.refill(4, &[first as u8; 4]);
    pipeline.send(pool, (first, direction.clone()), input);
}

fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).ok()
}

/// A job that panics puts its piece back for the next who comes: another job, or the caller.
#[test]
fn a_piece_is_not_lost_with_the_thread_that_turned_it() {
    for (at, times) in [(0, 1), (1, 1), (2, 1), (0, 2), (2, 2)] {
        let (pool, direction) = (Kept::default(), breaking(at, times));
        let mut pipeline = Pipeline::default();
        (0..3).for_each(|first| send(&mut pipeline, &pool, &direction, first));
        let broken = pool.take().into_iter().map(caught).filter(Option::is_none);
        assert_eq!(broken.count(), times, "{at}");
        for first in 0..3 {
            let turned = pipeline.take().unwrap();
            assert_eq!(turned.output.filled(), [first; 5]);
        }
        assert!(pipeline.take().is_none() && pipeline.is_empty());
    }
}

/// If it is the caller, it panics, and can come again.
#[test]
fn a_panic_of_the_calling_thread_is_passed_on() {
    let (pool, direction) = (Kept::default(), breaking(1, 2));
    let mut pipeline = Pipeline::default();
    (0..3).for_each(|first| send(&mut pipeline, &pool, &direction, first));
    assert_eq!(pipeline.take().unwrap().output.filled(), [0; 5]);
    assert!(caught(|| pipeline.take()).is_none());
    assert!(caught(|| pipeline.take()).is_none());
    assert_eq!(pipeline.take().unwrap().output.filled(), [1; 5]);
}

/// A thread that breaks while the caller waits for it wakes it.
#[test]
fn a_caller_that_waits_is_told_of_a_panic() {
    for _ in 0..200 {
        let (pool, met) = (Kept::default(), Arc::new(Barrier::new(2)));
        let at_work = met.clone();
        let direction = turning(move |_| {
            if std::thread::current().name() == Some("job") {
                at_work.wait();
                std::thread::yield_now();
                std::panic::resume_unwind(Box::new("broken"));
            }
        });
        let mut pipeline = Pipeline::default();
        send(&mut pipeline, &pool, &direction, 7);
        let job = pool.take().remove(0);
        let job = std::thread::Builder::new().name("job".into()).spawn(job).unwrap();
        met.wait();
        assert_eq!(pipeline.take().unwrap().output.filled(), [7; 5]);
        assert!(job.join().is_err());
    }
}

/// What is left half-way is let go of, by those, too, who have not begun.
#[test]
fn a_job_keeps_nothing_of_a_stream_that_is_gone() {
    let (pool, direction) = (Kept::default(), unbroken());
    let mut pipeline = Pipeline::default();
    (0..6).for_each(|first| send(&mut pipeline, &pool, &direction, first));
    assert_eq!(lock(&pool.0).len(), 2, "a job for each other thread");
    drop(pipeline);
    assert_eq!(Arc::strong_count(&direction), 1, "keys are held");
    pool.take().into_iter().for_each(|job| job());
    assert_eq!(direction.turned.load(Ordering::Relaxed), 0);
}

/// Jobs count until they are dropped, run or not: there is always one more if there is none.
#[test]
fn jobs_that_were_dropped_are_sent_again() {
    let (pool, direction) = (Kept::default(), unbroken());
    let mut pipeline = Pipeline::default();
    for first in 0..6 {
        send(&mut pipeline, &pool, &direction, first);
        assert_eq!(pool.take().len(), 1);
    }
    for first in 6..12 {
        send(&mut pipeline, &pool, &direction, first);
        pool.take().into_iter().for_each(|job| job());
    }
    (0..12).for_each(|first| assert_eq!(pipeline.take().unwrap().output.filled(), [first; 5]));
}

/// A full line, whatever the number of threads.
#[test]
fn there_is_room_for_some_pieces_for_each_thread() {
    struct Threads(usize);

    impl Workers for Threads {
        fn join(&self, _: &mut (dyn FnMut() + Send), _: &mut (dyn FnMut() + Send)) {}

        fn threads(&self) -> usize {
            self.0
        }
    }

    for (threads, most) in [(0, 4), (1, 4), (2, 8), (15, 60), (16, 64), (17, 64), (usize::MAX, 64)]
    {
        let (pool, direction) = (Kept::default(), unbroken());
        let mut pipeline = Pipeline::default();
        let mut len = 0;
        while pipeline.has_room(&Threads(threads)) {
            send(&mut pipeline, &pool, &direction, len);
            len += 1;
        }
        assert_eq!(len, most, "{threads} threads");
        pipeline.clear();
        assert!(pipeline.take().is_none() && pipeline.has_room(&Threads(threads)));
    }
}
