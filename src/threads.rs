//! Threads that share the work on the chunks of one body.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Fewest bytes of a body that are worth a thread of their own: starting one takes as long as
/// encrypting some hundred kilobytes.
#[cfg(feature = "std")]
const LEAST_LEN: usize = 512 << 10;

/// How many threads may share the work on bodies; given by `Envelope::with_threads`.
///
/// A call on a long body starts threads of its own, and they end with it: nothing is queued, nothing
/// waits for a pool, and no task of the caller's runs on them. The calling thread does its part. Where
/// as many threads run as may, or the system refuses one, the calling thread does the work alone.
///
/// A clone counts with its original: `most` holds for all envelopes and calls that share it.
#[derive(Clone, Debug)]
pub struct Threads {
    most: usize,
    least_len: usize,
    count: Arc<Count>,
}

/// Threads that were started, callers not counted.
#[derive(Debug, Default)]
struct Count {
    #[cfg(feature = "std")]
    running: AtomicUsize,
    started: AtomicUsize,
}

#[cfg(feature = "std")]
impl Threads {
    /// At most `most` threads, one calling thread included: 0 and 1 start none.
    pub fn new(most: usize) -> Self {
        Threads { most, least_len: LEAST_LEN, count: Arc::default() }
    }

    /// As many threads as this machine runs at once.
    pub fn available() -> Self {
        Threads::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Threads {
    /// Starts a thread for each `bytes` of a body at the most, instead of each 512 KiB.
    #[must_use]
    pub fn with_least_len(mut self, bytes: usize) -> Self {
        self.least_len = bytes.max(1);
        self
    }

    /// How many threads were started so far: 0 tells that every body was too short.
    pub fn started(&self) -> usize {
        self.count.started.load(Ordering::Relaxed)
    }

    /// The most threads that share one body, the calling one included.
    #[cfg(feature = "std")]
    pub(crate) fn most(&self) -> usize {
        self.most.max(1)
    }

    /// Fewest bytes for each of them.
    #[cfg(feature = "std")]
    pub(crate) fn least_len(&self) -> usize {
        self.least_len
    }

    /// The right to start one thread more.
    #[cfg(feature = "std")]
    fn permit(&self) -> Option<Permit<'_>> {
        // Saturates: none and one are the calling thread.
        let most = self.most.saturating_sub(1);
        let more = |running: usize| (running < most).then(|| running + 1);
        self.count.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(&self.count))
    }
}

/// A thread that runs, or is to be started.
#[cfg(feature = "std")]
struct Permit<'t>(&'t Count);

#[cfg(feature = "std")]
impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads, and among how many of them what is left is to be split.
#[derive(Clone, Copy)]
pub(crate) struct Share<'t> {
    // Without `std` there are no threads, and nothing starts one.
    #[cfg_attr(not(feature = "std"), expect(dead_code))]
    threads: &'t Threads,
    parts: usize,
}

impl<'t> Share<'t> {
    /// `None` if `len` bytes are not worth a second thread.
    pub(crate) fn of(threads: Option<&'t Threads>, len: usize) -> Option<Self> {
        let threads = threads?;
        let worth = len / threads.least_len;
        let parts = threads.most.min(worth);
        (parts > 1).then_some(Share { threads, parts })
    }

    /// A share for either half, if it is to be split.
    pub(crate) fn halves(self) -> Option<(Self, Self)> {
        let half = self.parts.div_ceil(2);
        let rest = self.parts - half;
        let of = |parts| Share { parts, ..self };
        (rest > 0).then(|| (of(half), of(rest)))
    }

    /// Runs both, at the same time if a thread can be had, and returns what both returned.
    #[cfg(feature = "std")]
    pub(crate) fn join<A: Send, B: Send>(
        self,
        mut one: impl FnMut() -> A + Send,
        mut other: impl FnMut() -> B + Send,
    ) -> (A, B) {
        let Some(permit) = self.threads.permit() else { return (one(), other()) };
        let mut b = None;
        let mut run_other = || b = Some(other());
        let a = std::thread::scope(|scope| {
            // What does not start is run below.
            if std::thread::Builder::new().spawn_scoped(scope, &mut run_other).is_ok() {
                self.threads.count.started.fetch_add(1, Ordering::Relaxed);
            }
            one()
        });
        drop(permit);
        (a, b.unwrap_or_else(other))
    }

    /// Runs both, and returns what both returned.
    #[cfg(not(feature = "std"))]
    pub(crate) fn join<A, B>(
        self,
        mut one: impl FnMut() -> A,
        mut other: impl FnMut() -> B,
    ) -> (A, B) {
        (one(), other())
    }
}
