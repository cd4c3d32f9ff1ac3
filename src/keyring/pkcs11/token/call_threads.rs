//! Calls that their callers do not wait for beyond a deadline: no call into a library can be cut
//! off, but nobody has to wait for it.

use crate::keyring::pkcs11::error::Error;
use crate::sync::lock;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that make calls, if there is a deadline.
pub(crate) struct CallThreads {
    deadline: Option<Duration>,
    /// When a call that hangs is given up.
    hang_limit: Duration,
    most: usize,
    /// The process that the threads are in.
    process: u32,
    pool: Arc<Pool>,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Sender<Job>>,
    /// Threads there are, with those that are at work, and without those that are given up.
    threads: usize,
    /// Calls whose caller has gone, and when they began.
    hanging: BTreeMap<u64, Instant>,
    /// Calls that are given up: their threads end once they come back.
    given_up: usize,
    next: u64,
}

impl CallThreads {
    pub(crate) fn new(deadline: Option<Duration>, hang_limit: Duration, most: usize) -> Self {
        let hang_limit = hang_limit.max(deadline.unwrap_or_default());
        let (process, pool) = (std::process::id(), Arc::new(Pool::default()));
        CallThreads { deadline, hang_limit, most, process, pool }
    }

    /// Whether calls have a deadline, and so have to own what they work with.
    pub(crate) fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    /// Has `work` done, and waits for it until the deadline, or for `least` if that is longer.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        least: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Some(deadline) = self.deadline else { return Ok(work()) };
        let deadline = deadline.max(least);
        let started = Instant::now();
        let (thread, number) = self.thread(started, deadline)?;
        let (answer, answered) = mpsc::sync_channel(1);
        // Whoever comes first says so: the caller that leaves, or the call that is done.
        let left = Arc::new(Mutex::new(Call::UnderWay));
        let (pool, back, shared) = (self.pool.clone(), thread.clone(), left.clone());
        let job = Box::new(move || {
            let _lost = LostThread { pool: pool.clone(), number, call: shared.clone() };
            let result = work();
            let was = core::mem::replace(&mut *lock(&shared), Call::Done);
            pool.free(back, number, was == Call::Left);
            // A caller that has gone takes nothing.
            drop(answer.send(result));
        });
        if thread.send(job).is_err() {
            self.pool.lose();
            return Err(Error::Hanging { calls: self.pool.hanging() });
        }
        let rest = deadline.saturating_sub(started.elapsed());
        answered.recv_timeout(rest).map_err(|error| {
            let mut call = lock(&left);
            // A call that panicked, in the callback for a PIN, hangs no longer.
            if *call == Call::UnderWay && error == RecvTimeoutError::Timeout {
                *call = Call::Left;
                self.pool.leave(number, started);
            }
            Error::Deadline { after: deadline }
        })
    }

    /// A thread that has nothing to do.
    fn thread(&self, started: Instant, deadline: Duration) -> Result<(Sender<Job>, u64), Error> {
        let mut state = lock(&self.pool.state);
        loop {
            if let Some(thread) = state.idle.pop() {
                return Ok((thread, state.number()));
            }
            self.give_up(&mut state);
            if state.threads < self.most {
                let (thread, jobs) = mpsc::channel::<Job>();
                let run = move || jobs.into_iter().for_each(|job| job());
                let name = thread::Builder::new().name("envelock token".into());
                if name.spawn(run).is_ok() {
                    state.threads = state.threads.saturating_add(1);
                    return Ok((thread, state.number()));
                }
            }
            let left = deadline.saturating_sub(started.elapsed());
            if left.is_zero() || state.hanging.len() >= self.most {
                return Err(self.hanging(&state));
            }
            let waited = self.pool.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl CallThreads {
    fn is_too_long(&self, since: &Instant) -> bool {
        since.elapsed() >= self.hang_limit
    }

    /// Gives up the threads that have hung for too long, of which there may be so many.
    fn give_up(&self, state: &mut State) {
        let State { threads, hanging, given_up, .. } = state;
        hanging.retain(|_, since| {
            let gives_up = *given_up < self.most && self.is_too_long(since);
            if gives_up {
                *given_up = given_up.saturating_add(1);
                *threads = threads.saturating_sub(1);
            }
            !gives_up
        });
    }

    /// Why there is no thread.
    fn hanging(&self, state: &State) -> Error {
        let calls = state.hanging.len().saturating_add(state.given_up);
        if state.hanging.len() >= self.most && state.hanging.values().all(|it| self.is_too_long(it))
        {
            return Error::RestartProcess { calls };
        }
        Error::Hanging { calls }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    UnderWay,
    Done,
    /// Its caller has gone.
    Left,
}

impl Pool {
    fn free(&self, thread: Sender<Job>, number: u64, was_left: bool) {
        let mut state = lock(&self.state);
        if was_left && state.hanging.remove(&number).is_none() {
            // Given up: another has its place. It ends, since nobody can hand it anything.
            state.given_up = state.given_up.saturating_sub(1);
        } else {
            state.idle.push(thread);
        }
        drop(state);
        self.freed.notify_one();
    }

    fn leave(&self, number: u64, started: Instant) {
        lock(&self.state).hanging.insert(number, started);
    }

    fn lose(&self) {
        let mut state = lock(&self.state);
        state.threads = state.threads.saturating_sub(1);
    }

    fn hanging(&self) -> usize {
        lock(&self.state).hanging.len()
    }
}

/// A thread whose call panics is one less.
struct LostThread {
    pool: Arc<Pool>,
    number: u64,
    call: Arc<Mutex<Call>>,
}

impl Drop for LostThread {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let was_left = *lock(&self.call) == Call::Left;
        let mut state = lock(&self.pool.state);
        if was_left && state.hanging.remove(&self.number).is_none() {
            state.given_up = state.given_up.saturating_sub(1);
        } else {
            state.threads = state.threads.saturating_sub(1);
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

impl Drop for CallThreads {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // In a child of a fork there are no threads to end, and locks may be held for ever.
            core::mem::forget(self.pool.clone());
            return;
        }
        // Threads end once nobody can hand them anything.
        lock(&self.pool.state).idle.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn a_call_that_hangs_is_left_and_counted_until_it_comes_back() {
        let mut call_threads = CallThreads::new(Some(HOUR), HOUR, 2);
        assert_eq!(call_threads.call(Duration::ZERO, || 7).unwrap(), 7);
        call_threads.deadline = Some(SOON);
        let mut releases = Vec::new();
        for _ in 0..2 {
            let (release, wait) = channel::<()>();
            releases.push(release);
            let left = call_threads.call(Duration::ZERO, move || wait.recv().is_ok());
            assert!(matches!(left, Err(Error::Deadline { .. })), "{left:?}");
        }
        call_threads.deadline = Some(HOUR);
        let started = Instant::now();
        let hanging = call_threads.call(Duration::ZERO, || 7);
        assert!(matches!(hanging, Err(Error::Hanging { calls: 2 })), "{hanging:?}");
        assert!(started.elapsed() < HOUR, "told at once");
        drop(releases);
        // Their threads have to wake up first.
        let mut answers = core::iter::repeat_with(|| {
            thread::sleep(Duration::from_millis(1));
            call_threads.call(Duration::ZERO, || 8)
        });
        let is_well = |answer: Result<_, _>| answer.is_ok() && call_threads.pool.hanging() == 0;
        assert!(answers.by_ref().take(60_000).any(is_well));
    }

    #[test]
    fn calls_that_hang_too_long_are_given_up_and_their_threads_replaced_once() {
        let mut call_threads = CallThreads::new(Some(SOON), HOUR, 2);
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let hang = |call_threads: &CallThreads| {
            let wait = wait.clone();
            call_threads.call(Duration::ZERO, move || lock(&wait).recv().is_ok())
        };
        for round in 0..2 {
            for _ in 0..2 {
                let left = hang(&call_threads);
                assert!(matches!(left, Err(Error::Deadline { .. })), "{round}: {left:?}");
            }
            let hanging = call_threads.call(Duration::ZERO, || 7);
            assert!(matches!(hanging, Err(Error::Hanging { .. })), "{round}: {hanging:?}");
            call_threads.hang_limit = Duration::ZERO;
            call_threads.give_up(&mut lock(&call_threads.pool.state));
            call_threads.hang_limit = HOUR;
        }
        call_threads.hang_limit = Duration::ZERO;
        for _ in 0..2 {
            let told = call_threads.call(Duration::ZERO, || 7);
            assert!(matches!(told, Err(Error::RestartProcess { calls: 4 })), "{told:?}");
        }
        // All the same they may come back.
        drop(release);
        let is_well = |_| {
            thread::sleep(Duration::from_millis(1));
            let state = lock(&call_threads.pool.state);
            state.hanging.is_empty() && state.given_up == 0
        };
        assert!((0..60_000).any(is_well));
        call_threads.deadline = Some(HOUR);
        assert_eq!(call_threads.call(Duration::ZERO, || 8).unwrap(), 8);
        assert_eq!(lock(&call_threads.pool.state).threads, 2);
    }

    #[test]
    fn a_call_that_panics_costs_no_thread() {
        let call_threads = CallThreads::new(Some(HOUR), HOUR, 2);
        for _ in 0..4 {
            assert!(call_threads.call(Duration::ZERO, || -> u8 { panic!("on purpose") }).is_err());
        }
        assert_eq!(call_threads.call(Duration::ZERO, || 9).unwrap(), 9);
    }

    #[test]
    fn many_callers_share_few_threads() {
        let call_threads = CallThreads::new(Some(HOUR), HOUR, 3);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for number in 0..200 {
                        assert_eq!(
                            call_threads.call(Duration::ZERO, move || number).unwrap(),
                            number
                        );
                    }
                });
            }
        });
        assert!(lock(&call_threads.pool.state).threads <= 3);
    }
}
