//! A shared-exclusive lock with a timeout.

use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::Error;
use crate::sync::Monitor;
use alloc::collections::BTreeMap;
use core::time::Duration;
use std::time::Instant;

/// A shared-exclusive lock whose waits end with a time limit, and which knows since when each
/// holder holds it.
///
/// The locks of `std` do not fit: a call that never returns would block every later caller.
pub(crate) struct TimedLock {
    state: Monitor<LockState>,
}

#[derive(Default)]
struct LockState {
    holders: BTreeMap<u64, Instant>,
    /// Whether the one holder is exclusive.
    is_exclusive: bool,
    /// Threads that wait for exclusive access, and until when they keep new holders out.
    waiting: BTreeMap<u64, Instant>,
    next: u64,
}

/// Holds a [`TimedLock`] until it is dropped.
pub(crate) struct TimedGuard<'a> {
    lock: &'a TimedLock,
    number: u64,
    is_exclusive: bool,
}

impl TimedLock {
    pub(crate) fn new() -> Self {
        TimedLock { state: Monitor::new(LockState::default()) }
    }

    /// Locks for shared access.
    pub(crate) fn shared(&self, limit: &TimeLimit) -> Result<TimedGuard<'_>, Error> {
        let mut state = self.state.lock();
        loop {
            let kept_out = state.kept_out();
            if !state.is_exclusive && kept_out.is_none() {
                let number = state.number();
                state.holders.insert(number, Instant::now());
                return Ok(TimedGuard { lock: self, number, is_exclusive: false });
            }
            let remaining = limit.remaining();
            let hangs = state.is_exclusive && state.oldest().is_some_and(|it| limit.is_hung(it));
            if remaining.is_zero() || hangs {
                return Err(state.blocked(limit));
            }
            let wait = kept_out.map_or(remaining, |rest| rest.min(remaining));
            state = self.state.wait_timeout(state, wait);
        }
    }

    /// Locks for exclusive access, once it is not locked.
    ///
    /// The wait keeps new holders out for half of the time limit, so that it can succeed, and no
    /// longer, so that one hung call does not block all others.
    pub(crate) fn exclusive(&self, limit: &TimeLimit) -> Result<TimedGuard<'_>, Error> {
        let mut state = self.state.lock();
        let number = state.number();
        let until = Instant::now().checked_add(limit.half()).unwrap_or_else(Instant::now);
        loop {
            if state.holders.is_empty() {
                state.waiting.remove(&number);
                state.holders.insert(number, Instant::now());
                state.is_exclusive = true;
                return Ok(TimedGuard { lock: self, number, is_exclusive: true });
            }
            let remaining = limit.remaining();
            if remaining.is_zero() || state.oldest().is_some_and(|it| limit.is_hung(it)) {
                state.waiting.remove(&number);
                let error = state.blocked(limit);
                drop(state);
                self.state.notify_all();
                return Err(error);
            }
            state.waiting.insert(number, until);
            state = self.state.wait_timeout(state, remaining);
        }
    }
}

impl LockState {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// For how long waiting threads keep new holders out.
    fn kept_out(&self) -> Option<Duration> {
        let until = self.waiting.values().min()?;
        until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// When the oldest holder locked.
    fn oldest(&self) -> Option<Instant> {
        self.holders.values().min().copied()
    }

    fn blocked(&self, limit: &TimeLimit) -> Error {
        limit.blocked(self.holders.len(), self.oldest().unwrap_or_else(Instant::now))
    }
}

impl TimedGuard<'_> {
    /// Turns exclusive access into shared access.
    pub(crate) fn downgrade(mut self) -> Self {
        if core::mem::take(&mut self.is_exclusive) {
            let mut state = self.lock.state.lock();
            state.is_exclusive = false;
            state.holders.insert(self.number, Instant::now());
            drop(state);
            self.lock.state.notify_all();
        }
        self
    }
}

impl Drop for TimedGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock();
        state.holders.remove(&self.number);
        if self.is_exclusive {
            state.is_exclusive = false;
        }
        let is_awaited = self.is_exclusive || !state.waiting.is_empty();
        drop(state);
        if is_awaited {
            self.lock.state.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn limit(millis: u64) -> TimeLimit {
        TimeLimit::new(Duration::from_millis(millis), Duration::MAX)
    }

    #[test]
    fn exclusive_access_excludes_all_other_access() {
        let lock = TimedLock::new();
        let holders = [lock.shared(&limit(0)).unwrap(), lock.shared(&limit(0)).unwrap()];
        let blocked = lock.exclusive(&limit(10)).err();
        assert!(matches!(blocked, Some(Error::Hanging { calls: 2 })), "{blocked:?}");
        // A failed wait keeps no holder out.
        drop(lock.shared(&limit(0)).unwrap());
        thread::scope(|scope| {
            let exclusive = scope.spawn(|| lock.exclusive(&limit(60_000)).map(drop));
            thread::sleep(Duration::from_millis(20));
            drop(holders);
            assert!(exclusive.join().unwrap().is_ok());
        });
        let exclusive = lock.exclusive(&limit(0)).unwrap();
        assert!(lock.shared(&limit(10)).is_err());
        let blocked = lock.exclusive(&limit(10)).err();
        assert!(matches!(blocked, Some(Error::Hanging { calls: 1 })), "{blocked:?}");
        let shared = exclusive.downgrade();
        drop(lock.shared(&limit(0)).unwrap());
        drop(shared);
        drop(lock.exclusive(&limit(0)).unwrap());
    }

    #[test]
    fn hung_call_blocks_others_for_half_of_the_limit() {
        let lock = TimedLock::new();
        let hung = lock.shared(&limit(0)).unwrap();
        thread::scope(|scope| {
            let exclusive = scope.spawn(|| lock.exclusive(&limit(3_600_000)).map(drop));
            while lock.state.lock().waiting.is_empty() {
                thread::yield_now();
            }
            assert!(lock.shared(&limit(0)).is_err(), "kept out");
            // Half of the limit is over.
            let enters = || {
                lock.state.lock().waiting.values_mut().for_each(|until| *until = Instant::now());
                lock.shared(&limit(0)).is_ok()
            };
            while !enters() {
                thread::yield_now();
            }
            assert!(!lock.state.lock().waiting.is_empty(), "the exclusive wait goes on");
            drop(hung);
            assert!(exclusive.join().unwrap().is_ok());
        });
        let hung = lock.shared(&limit(0)).unwrap();
        let expired = TimeLimit::new(Duration::ZERO, Duration::ZERO);
        let blocked = lock.exclusive(&expired).err();
        assert!(matches!(blocked, Some(Error::RestartProcess { calls: 1 })), "{blocked:?}");
        drop(lock.shared(&limit(0)).unwrap());
        drop(hung);
        drop(lock.exclusive(&limit(0)).unwrap());
    }
}
