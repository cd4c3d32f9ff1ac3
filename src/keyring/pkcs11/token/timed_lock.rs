//! Who is inside of a library: any number of threads, or one alone.

use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::Error;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A lock for readers and a writer that is waited for within a limit, and that knows since when
/// each of them is inside.
///
/// Not `std`'s: a call that never returns would keep whoever comes next for ever.
pub(crate) struct TimedLock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    inside: BTreeMap<u64, Instant>,
    alone: Option<Instant>,
    /// Those who want to be alone, and until when others are held back for them.
    waiting: BTreeMap<u64, Instant>,
    next: u64,
}

/// The right to be inside, as long as it is held.
pub(crate) struct AccessGuard<'a> {
    access: &'a TimedLock,
    /// `None` for who is alone.
    number: Option<u64>,
}

impl TimedLock {
    pub(crate) fn new() -> Self {
        TimedLock { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Goes in beside others.
    pub(crate) fn enter(&self, limit: &TimeLimit) -> Result<AccessGuard<'_>, Error> {
        let mut state = lock(&self.state);
        loop {
            let held_back = state.waiting.values().min().copied();
            let held_back = held_back.map(|until| until.saturating_duration_since(Instant::now()));
            let held_back = held_back.filter(|rest| !rest.is_zero());
            if state.alone.is_none() && held_back.is_none() {
                let number = state.enter();
                return Ok(AccessGuard { access: self, number: Some(number) });
            }
            let left = limit.left();
            if left.is_zero() || state.alone.is_some_and(|since| limit.is_given_up(since)) {
                return Err(state.in_vain(limit));
            }
            state = self.wait(state, held_back.map_or(left, |rest| rest.min(left)));
        }
    }

    /// Goes in once nobody is inside. Others are held back for half of the limit, so that it comes
    /// to that, and no longer, so that one call that hangs does not keep all of them.
    pub(crate) fn enter_alone(&self, limit: &TimeLimit) -> Result<AccessGuard<'_>, Error> {
        let mut state = lock(&self.state);
        let number = state.number();
        let until = Instant::now().checked_add(limit.half()).unwrap_or_else(Instant::now);
        loop {
            if state.alone.is_none() && state.inside.is_empty() {
                state.waiting.remove(&number);
                state.alone = Some(Instant::now());
                return Ok(AccessGuard { access: self, number: None });
            }
            let left = limit.left();
            let longest = state.longest();
            if left.is_zero() || longest.is_some_and(|since| limit.is_given_up(since)) {
                state.waiting.remove(&number);
                let error = state.in_vain(limit);
                drop(state);
                self.changed.notify_all();
                return Err(error);
            }
            state.waiting.insert(number, until);
            state = self.wait(state, left);
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        longest: core::time::Duration,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn enter(&mut self) -> u64 {
        let number = self.number();
        self.inside.insert(number, Instant::now());
        number
    }

    /// Since when the one is inside who has been there longest.
    fn longest(&self) -> Option<Instant> {
        self.inside.values().chain(&self.alone).min().copied()
    }

    fn in_vain(&self, limit: &TimeLimit) -> Error {
        let calls = self.inside.len().saturating_add(usize::from(self.alone.is_some()));
        limit.in_vain(calls, self.longest().unwrap_or_else(Instant::now))
    }
}

impl AccessGuard<'_> {
    /// Lets others in beside who was alone.
    pub(crate) fn share(mut self) -> Self {
        if self.number.is_none() {
            let mut state = lock(&self.access.state);
            state.alone = None;
            self.number = Some(state.enter());
            drop(state);
            self.access.changed.notify_all();
        }
        self
    }
}

impl Drop for AccessGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.access.state);
        match self.number {
            Some(number) => drop(state.inside.remove(&number)),
            None => state.alone = None,
        }
        let is_awaited = !state.waiting.is_empty() || self.number.is_none();
        drop(state);
        if is_awaited {
            self.access.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    fn limit(recovery_timeout: u64) -> TimeLimit {
        TimeLimit::new(Duration::from_millis(recovery_timeout), Duration::MAX)
    }

    #[test]
    fn whoever_is_alone_waits_for_all_and_all_for_him() {
        let access = TimedLock::new();
        let inside = [access.enter(&limit(0)).unwrap(), access.enter(&limit(0)).unwrap()];
        let in_vain = access.enter_alone(&limit(10)).err();
        assert!(matches!(in_vain, Some(Error::Hanging { calls: 2 })), "{in_vain:?}");
        // Who waited in vain holds nobody back.
        drop(access.enter(&limit(0)).unwrap());
        thread::scope(|scope| {
            let alone = scope.spawn(|| access.enter_alone(&limit(60_000)).map(drop));
            thread::sleep(Duration::from_millis(20));
            drop(inside);
            assert!(alone.join().unwrap().is_ok());
        });
        let alone = access.enter_alone(&limit(0)).unwrap();
        assert!(access.enter(&limit(10)).is_err());
        assert!(access.enter_alone(&limit(10)).is_err());
        let shared = alone.share();
        drop(access.enter(&limit(0)).unwrap());
        drop(shared);
        drop(access.enter_alone(&limit(0)).unwrap());
    }

    #[test]
    fn one_call_that_hangs_holds_others_back_for_half_a_term() {
        let access = TimedLock::new();
        let hangs = access.enter(&limit(0)).unwrap();
        thread::scope(|scope| {
            let alone = scope.spawn(|| access.enter_alone(&limit(3_600_000)).map(drop));
            while lock(&access.state).waiting.is_empty() {
                thread::yield_now();
            }
            assert!(access.enter(&limit(0)).is_err(), "held back");
            // Half of the limit is over.
            let enters = || {
                lock(&access.state).waiting.values_mut().for_each(|until| *until = Instant::now());
                access.enter(&limit(0)).is_ok()
            };
            while !enters() {
                thread::yield_now();
            }
            assert!(!lock(&access.state).waiting.is_empty(), "it still waits");
            drop(hangs);
            assert!(alone.join().unwrap().is_ok());
        });
        let hangs = access.enter(&limit(0)).unwrap();
        let gives_up = TimeLimit::new(Duration::ZERO, Duration::ZERO);
        let given_up = access.enter_alone(&gives_up).err();
        assert!(matches!(given_up, Some(Error::RestartProcess { calls: 1 })), "{given_up:?}");
        drop(access.enter(&limit(0)).unwrap());
        drop(hangs);
        drop(access.enter_alone(&limit(0)).unwrap());
    }
}
