//! Who works on the chunks of a body: the calling thread, or several.

use alloc::boxed::Box;

/// Threads that share the work on one body; given by [`Envelope::with_workers`].
///
/// With feature `parallel`, `Envelope::in_parallel` brings rayon's. For another pool, implement
/// this: it is all that envelock asks of one.
///
/// [`Envelope::with_workers`]: crate::Envelope::with_workers
pub trait Workers: Send + Sync {
    /// Runs both, at the same time if it can, and returns when both have returned.
    ///
    /// What was not run when this returns is run by the caller. Either may call this again.
    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send));

    /// Runs `job` at some time, on another thread, or drops it; returns without waiting for it.
    ///
    /// For what is read or written in streams. A job computes, for some milliseconds at most, and
    /// waits for nothing. Nobody waits for a job that has not begun: what no other thread has
    /// taken up when it is needed, the calling thread does itself. By default every job is dropped.
    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        drop(job);
    }

    /// How many threads there are, as far as is known: work is split, and buffers are sized by it.
    fn threads(&self) -> usize {
        2
    }

    /// Fewest bytes that are worth sharing: what is shorter stays on the calling thread. By default
    /// 256 KiB; more where it takes long to wake a thread.
    fn least_len(&self) -> usize {
        256 << 10
    }
}

/// Workers, and among how many of them what is left is to be split.
#[derive(Clone, Copy)]
pub(crate) struct Share<'w> {
    workers: &'w dyn Workers,
    threads: usize,
}

impl<'w> Share<'w> {
    /// `None` if `len` bytes are not worth sharing.
    pub(crate) fn of(workers: Option<&'w dyn Workers>, len: usize) -> Option<Self> {
        let workers = workers.filter(|workers| len >= workers.least_len())?;
        Some(Share { workers, threads: workers.threads() })
    }

    /// A share for either half, if there are threads for both.
    pub(crate) fn halves(self) -> Option<(Self, Self)> {
        let half = self.threads.div_ceil(2);
        let rest = self.threads.saturating_sub(half);
        let of = |threads| Share { threads, ..self };
        (rest > 0).then(|| (of(half), of(rest)))
    }

    /// Runs both by the workers, and returns what both returned.
    pub(crate) fn join<A: Send, B: Send>(
        self,
        mut one: impl FnMut() -> A + Send,
        mut other: impl FnMut() -> B + Send,
    ) -> (A, B) {
        let (mut a, mut b) = (None, None);
        let mut run_one = || {
            let _ = a.get_or_insert_with(&mut one);
        };
        let mut run_other = || {
            let _ = b.get_or_insert_with(&mut other);
        };
        self.workers.join(&mut run_one, &mut run_other);
        (a.unwrap_or_else(one), b.unwrap_or_else(other))
    }
}
