//! A fair semaphore with a timeout: limits how many threads use sessions of a token at once.

use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::Error;
use crate::sync::Monitor;
use alloc::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Permits to use a session, as many as the token has sessions.
pub(crate) struct Semaphore {
    state: Monitor<SemaphoreState>,
}

struct SemaphoreState {
    permits: usize,
    /// Permits in use, and since when. A permit whose call hangs is replaced.
    used: BTreeMap<u64, Instant>,
    /// Waiting threads, the longest wait first. A thread that returns a permit and needs another one
    /// waits after them.
    waiting: VecDeque<u64>,
    next: u64,
}

/// A permit, returned on drop.
pub(crate) struct Permit<'a> {
    semaphore: &'a Semaphore,
    number: u64,
}

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        let (used, waiting) = (BTreeMap::new(), VecDeque::new());
        Semaphore {
            state: Monitor::new(SemaphoreState { permits: permits.max(1), used, waiting, next: 0 }),
        }
    }

    pub(crate) fn acquire(&self, limit: &TimeLimit) -> Result<Permit<'_>, Error> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next = number.wrapping_add(1);
        let mut is_waiting = false;
        loop {
            if state.waiting.front().is_none_or(|first| *first == number) {
                if state.used.len() >= state.permits {
                    state.used.retain(|_, since| !limit.is_hung(*since));
                }
                if state.used.len() < state.permits {
                    state.waiting.retain(|waiting| *waiting != number);
                    state.used.insert(number, Instant::now());
                    drop(state);
                    if is_waiting {
                        self.state.notify_all();
                    }
                    return Ok(Permit { semaphore: self, number });
                }
            }
            let remaining = limit.remaining();
            if remaining.is_zero() {
                state.waiting.retain(|waiting| *waiting != number);
                drop(state);
                self.state.notify_all();
                return Err(Error::NoSession);
            }
            if !is_waiting {
                is_waiting = true;
                state.waiting.push_back(number);
            }
            state = self.state.wait_timeout(state, remaining);
        }
    }

    /// Sets the number of permits.
    pub(crate) fn set_permits(&self, permits: usize) {
        self.state.lock().permits = permits.max(1);
        self.state.notify_all();
    }

    /// Removes a permit: the token had no session for a holder, since others use it as well.
    pub(crate) fn lower(&self) {
        let mut state = self.state.lock();
        state.permits = state.used.len().max(2) - 1;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.semaphore.state.lock();
        state.used.remove(&self.number);
        let is_awaited = !state.waiting.is_empty();
        drop(state);
        if is_awaited {
            self.semaphore.state.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn permits_are_limited_and_hung_ones_replaced() {
        let limit = |millis| TimeLimit::new(Duration::from_millis(millis), Duration::MAX);
        let semaphore = Semaphore::new(2);
        let acquire = |millis| semaphore.acquire(&limit(millis));
        let [one, two] = [acquire(0).unwrap(), acquire(0).unwrap()];
        assert!(matches!(acquire(10).err(), Some(Error::NoSession)));
        drop(two);
        semaphore.lower();
        assert!(acquire(0).is_err(), "one of one is in use");
        let expired = TimeLimit::new(Duration::ZERO, Duration::ZERO);
        let other = semaphore.acquire(&expired).unwrap();
        drop(one);
        assert!(acquire(0).is_err(), "a replaced permit is not returned");
        drop(other);
        semaphore.set_permits(2);
        assert!(acquire(0).is_ok());
    }
}
