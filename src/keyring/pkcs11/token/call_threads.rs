//! Threads that make calls into a library, so that their callers can leave at a deadline: a call
//! itself cannot be cancelled.

use crate::keyring::pkcs11::error::Error;
use crate::sync::Monitor;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

type CallJob = Box<dyn FnOnce() + Send>;

/// A thread pool, if there is a deadline.
///
/// Not a thread for each call: with one, a call costs 65 to 90 us more instead of 6 to 15, twice
/// what SoftHSM takes to wrap a data key.
pub(crate) struct CallThreads {
    deadline: Option<Duration>,
    /// When a call counts as hung.
    hang_limit: Duration,
    max_threads: usize,
    /// The process that the threads are in.
    process: u32,
    pool: Arc<Monitor<ThreadPool>>,
}

#[derive(Default)]
struct ThreadPool {
    idle: Vec<Sender<CallJob>>,
    /// Calls that have not returned.
    calls: BTreeMap<u64, Call>,
    next: u64,
}

struct Call {
    started: Instant,
    caller: Caller,
}

/// The state of the caller of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Waits,
    /// It left at the deadline.
    Left,
    /// It left, and the call hung for longer than the hang limit: another thread replaces that of the
    /// call, which ends when the call returns.
    Replaced,
}

impl CallThreads {
    pub(crate) fn new(
        deadline: Option<Duration>,
        hang_limit: Duration,
        max_threads: usize,
    ) -> Self {
        let hang_limit = deadline.map_or(hang_limit, |deadline| hang_limit.max(deadline));
        let (process, pool) = (std::process::id(), Arc::new(Monitor::new(ThreadPool::default())));
        CallThreads { deadline, hang_limit, max_threads, process, pool }
    }

    /// Runs `work`, and waits for it until the deadline, or for `least` if that is longer. Without
    /// a deadline the calling thread runs it.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        least: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Some(deadline) = self.deadline else { return Ok(work()) };
        let deadline = deadline.max(least);
        let started = Instant::now();
        let (thread, number) = self.thread(started, deadline)?;
        let (result, returned) = mpsc::sync_channel(1);
        let (pool, idle) = (self.pool.clone(), thread.clone());
        let job = Box::new(move || {
            let running = Running { pool, thread: idle, number };
            let value = work();
            drop(running);
            // Fails if the caller has left.
            drop(result.send(value));
        });
        // Fails if the thread has ended: then the job is dropped, and `result` with it.
        drop(thread.send(job));
        // Saturates: at the deadline it does not wait any longer.
        let rest = deadline.saturating_sub(started.elapsed());
        returned.recv_timeout(rest).map_err(|error| {
            let mut pool = self.pool.lock();
            match error {
                // Unless the call has returned since.
                RecvTimeoutError::Timeout => {
                    pool.calls.entry(number).and_modify(|call| call.caller = Caller::Left);
                }
                // The callback for a PIN panicked.
                RecvTimeoutError::Disconnected => drop(pool.calls.remove(&number)),
            }
            Error::Deadline { after: deadline }
        })
    }

    /// An idle thread, and the number of the call that it is to make.
    fn thread(
        &self,
        started: Instant,
        deadline: Duration,
    ) -> Result<(Sender<CallJob>, u64), Error> {
        let mut pool = self.pool.lock();
        loop {
            if let Some(thread) = pool.idle.pop() {
                return Ok((thread, pool.begin(started)));
            }
            self.replace_hung(&mut pool);
            if pool.calls.len() - pool.count(Caller::Replaced) < self.max_threads {
                let (thread, jobs) = mpsc::channel::<CallJob>();
                let run = move || jobs.into_iter().for_each(|job| job());
                let name = thread::Builder::new().name("envelock token".into());
                if name.spawn(run).is_ok() {
                    return Ok((thread, pool.begin(started)));
                }
            }
            // Saturates: at the deadline it does not wait any longer.
            let rest = deadline.saturating_sub(started.elapsed());
            if rest.is_zero() || pool.count(Caller::Left) >= self.max_threads {
                return Err(self.hanging(&pool));
            }
            pool = self.pool.wait_timeout(pool, rest);
        }
    }

    fn is_hung(&self, call: &Call) -> bool {
        call.started.elapsed() >= self.hang_limit
    }

    /// Replaces the threads of hung calls, at most as many as there may be threads.
    fn replace_hung(&self, pool: &mut ThreadPool) {
        let room =
            self.max_threads.max(pool.count(Caller::Replaced)) - pool.count(Caller::Replaced);
        let hung = pool.calls.values_mut();
        let hung = hung.filter(|call| call.caller == Caller::Left && self.is_hung(call));
        hung.take(room).for_each(|call| call.caller = Caller::Replaced);
    }

    /// Why there is no thread.
    fn hanging(&self, pool: &ThreadPool) -> Error {
        let left = pool.count(Caller::Left);
        let calls = left + pool.count(Caller::Replaced);
        let mut abandoned = pool.calls.values().filter(|call| call.caller == Caller::Left);
        if left >= self.max_threads && abandoned.all(|call| self.is_hung(call)) {
            return Error::RestartProcess { calls };
        }
        Error::Hanging { calls }
    }
}

impl ThreadPool {
    fn begin(&mut self, started: Instant) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.calls.insert(self.next, Call { started, caller: Caller::Waits });
        self.next
    }

    fn count(&self, caller: Caller) -> usize {
        self.calls.values().filter(|call| call.caller == caller).count()
    }
}

/// A call that runs. On drop its thread is idle, unless another one has replaced it or it panics.
struct Running {
    pool: Arc<Monitor<ThreadPool>>,
    thread: Sender<CallJob>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut pool = self.pool.lock();
        let call = pool.calls.remove(&self.number);
        if call.is_some_and(|call| call.caller != Caller::Replaced) && !thread::panicking() {
            pool.idle.push(self.thread.clone());
        }
        drop(pool);
        self.pool.notify_all();
    }
}

impl Drop for CallThreads {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A child of a fork has none of the threads, and its copies of locks may stay locked.
            core::mem::forget(self.pool.clone());
            return;
        }
        // A thread ends when its last sender is dropped.
        self.pool.lock().idle.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_millis(50);

    fn threads(pool: &ThreadPool) -> usize {
        pool.idle.len() + pool.calls.len() - pool.count(Caller::Replaced)
    }

    #[test]
    fn hanging_call_is_counted_until_it_returns() {
        let mut threads = CallThreads::new(Some(HOUR), HOUR, 2);
        assert_eq!(threads.call(Duration::ZERO, || 7).unwrap(), 7);
        threads.deadline = Some(SOON);
        let mut releases = Vec::new();
        for _ in 0..2 {
            let (release, wait) = channel::<()>();
            releases.push(release);
            let left = threads.call(Duration::ZERO, move || wait.recv().is_ok());
            assert!(matches!(left, Err(Error::Deadline { .. })), "{left:?}");
        }
        threads.deadline = Some(HOUR);
        let started = Instant::now();
        let hanging = threads.call(Duration::ZERO, || 7);
        assert!(matches!(hanging, Err(Error::Hanging { calls: 2 })), "{hanging:?}");
        assert!(started.elapsed() < HOUR, "without a wait");
        drop(releases);
        // The threads of both calls have to wake up first.
        let mut results = core::iter::repeat_with(|| {
            thread::sleep(Duration::from_millis(1));
            threads.call(Duration::ZERO, || 8)
        });
        let is_well =
            |result: Result<_, _>| result.is_ok() && threads.pool.lock().count(Caller::Left) == 0;
        assert!(results.by_ref().take(60_000).any(is_well));
    }

    #[test]
    fn hung_calls_are_given_up_and_replaced_once() {
        let mut pool = CallThreads::new(Some(SOON), HOUR, 2);
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let hang = |pool: &CallThreads| {
            let wait = wait.clone();
            pool.call(Duration::ZERO, move || crate::sync::lock(&wait).recv().is_ok())
        };
        for round in 0..2 {
            for _ in 0..2 {
                let left = hang(&pool);
                assert!(matches!(left, Err(Error::Deadline { .. })), "{round}: {left:?}");
            }
            let hanging = pool.call(Duration::ZERO, || 7);
            assert!(matches!(hanging, Err(Error::Hanging { .. })), "{round}: {hanging:?}");
            pool.hang_limit = Duration::ZERO;
            pool.replace_hung(&mut pool.pool.lock());
            pool.hang_limit = HOUR;
        }
        pool.hang_limit = Duration::ZERO;
        for _ in 0..2 {
            let error = pool.call(Duration::ZERO, || 7);
            assert!(matches!(error, Err(Error::RestartProcess { calls: 4 })), "{error:?}");
        }
        // All of them may return later.
        drop(release);
        let is_well = |_| {
            thread::sleep(Duration::from_millis(1));
            pool.pool.lock().calls.is_empty()
        };
        assert!((0..60_000).any(is_well));
        pool.deadline = Some(HOUR);
        assert_eq!(pool.call(Duration::ZERO, || 8).unwrap(), 8);
        assert_eq!(threads(&pool.pool.lock()), 2);
    }

    #[test]
    fn panicking_call_costs_no_thread() {
        let threads = CallThreads::new(Some(HOUR), HOUR, 2);
        for _ in 0..4 {
            assert!(threads.call(Duration::ZERO, || -> u8 { panic!("on purpose") }).is_err());
        }
        assert_eq!(threads.call(Duration::ZERO, || 9).unwrap(), 9);
    }

    #[test]
    fn many_callers_share_few_threads() {
        let pool = CallThreads::new(Some(HOUR), HOUR, 3);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for number in 0..200 {
                        assert_eq!(pool.call(Duration::ZERO, move || number).unwrap(), number);
                    }
                });
            }
        });
        assert!(threads(&pool.pool.lock()) <= 3);
    }
}
