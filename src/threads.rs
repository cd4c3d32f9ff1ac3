//! Threads that share the work on the chunks of one body.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a body for each thread: starting one takes as long as encrypting some hundred kilobytes.
const MIN_LEN: usize = 512 << 10;

/// The same with a cipher as fast as memory.
const FAST_MIN_LEN: usize = 1 << 20;

/// A limit on the threads that share the work on long bodies; set by `Envelope::with_threads`.
///
/// A call on a long body starts threads of its own, which end with the call: nothing is queued or waits
/// for a pool, and no task of the caller's runs on them. The calling thread does its part. If the limit
/// is reached, or the system refuses a thread, the calling thread does the work alone.
///
/// A clone shares the limit of its original, over all envelopes and calls.
#[derive(Clone, Debug)]
pub struct Threads {
    max_threads: usize,
    /// `None` unless the caller has set it.
    min_len: Option<usize>,
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
    /// Returns a limit of `max_threads` threads, one calling thread included: 0 and 1 start none.
    pub fn new(max_threads: usize) -> Self {
        Threads { max_threads, min_len: None, count: Arc::default() }
    }

    /// Returns a limit of the number of threads that this machine runs at once.
    pub fn available() -> Self {
        Threads::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Threads {
    /// Gives each thread at least `bytes` of a body, also of a stream, whichever cipher there is.
    ///
    /// Without it, each thread gets 512 KiB, or 1 MiB of AES-GCM by `graviola` or AWS-LC. Readers and
    /// writers use these on the calling thread alone, because their bytes would take as long to the other core
    /// and back.
    #[must_use]
    pub fn with_min_len(mut self, bytes: usize) -> Self {
        self.min_len = Some(bytes.max(1));
        self
    }

    /// Returns the number of threads started so far: 0 if every body was too short.
    pub fn started(&self) -> usize {
        self.count.started.load(Ordering::Relaxed)
    }

    /// The threads that share one body at the most, the calling one included.
    #[cfg(feature = "std")]
    pub(crate) fn max_threads(&self) -> usize {
        self.max_threads.max(1)
    }

    /// Whether they share the work on a stream.
    #[cfg(feature = "std")]
    pub(crate) fn share_streams(&self, is_cipher_fast: bool) -> bool {
        !is_cipher_fast || self.min_len.is_some()
    }

    /// Bytes of a stream for each of them at the least.
    #[cfg(feature = "std")]
    pub(crate) fn min_len(&self) -> usize {
        self.min_len.unwrap_or(MIN_LEN)
    }

    /// Permission to start one more thread.
    #[cfg(feature = "std")]
    fn permit(&self) -> Option<ThreadPermit<'_>> {
        // Saturates: none and one are the calling thread.
        let most = self.max_threads.saturating_sub(1);
        let more = |running: usize| (running < most).then(|| running + 1);
        self.count.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(ThreadPermit(&self.count))
    }
}

/// Counts a thread that runs or is about to start.
#[cfg(feature = "std")]
struct ThreadPermit<'t>(&'t Count);

#[cfg(feature = "std")]
impl Drop for ThreadPermit<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of parts in which the rest of a body is to be split.
#[derive(Clone, Copy)]
pub(crate) struct Share<'t> {
    // Without `std` there are no threads, and nothing starts one.
    #[cfg_attr(not(feature = "std"), expect(dead_code))]
    threads: &'t Threads,
    parts: usize,
}

impl<'t> Share<'t> {
    /// `None` if `len` bytes are not worth a second thread.
    pub(crate) fn of(
        threads: Option<&'t Threads>,
        len: usize,
        is_cipher_fast: bool,
    ) -> Option<Self> {
        let threads = threads?;
        let default = if is_cipher_fast { FAST_MIN_LEN } else { MIN_LEN };
        let worth = len / threads.min_len.unwrap_or(default);
        let parts = threads.max_threads.min(worth);
        (parts > 1).then_some(Share { threads, parts })
    }

    /// A share for each half, if there is to be a second one.
    pub(crate) fn halves(self) -> Option<(Self, Self)> {
        let half = self.parts.div_ceil(2);
        let rest = self.parts - half;
        let of = |parts| Share { parts, ..self };
        (rest > 0).then(|| (of(half), of(rest)))
    }

    /// Runs both, at the same time if a thread can be started, and returns both results.
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
            // If it does not start, it runs below.
            if std::thread::Builder::new().spawn_scoped(scope, &mut run_other).is_ok() {
                self.threads.count.started.fetch_add(1, Ordering::Relaxed);
            }
            one()
        });
        drop(permit);
        (a, b.unwrap_or_else(other))
    }

    /// Runs both, and returns both results.
    #[cfg(not(feature = "std"))]
    pub(crate) fn join<A, B>(
        self,
        mut one: impl FnMut() -> A,
        mut other: impl FnMut() -> B,
    ) -> (A, B) {
        (one(), other())
    }
}
