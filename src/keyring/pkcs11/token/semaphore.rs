//! How many threads work in sessions of a token at once, and who is next.

use super::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::Error;
use crate::sync::lock;
use alloc::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Semaphore to work in a session: no more than there may be sessions.
pub(crate) struct Semaphore {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    most: usize,
    /// Those that are out, and since when. One that is out for too long is given up, and another
    /// takes its place.
    out: BTreeMap<u64, Instant>,
    /// Who waits, longest first: those who have just given one back are not before them.
    waiting: VecDeque<u64>,
    next: u64,
}

/// One of them, as long as it is held.
pub(crate) struct Permit<'a> {
    sessions: &'a Semaphore,
    number: u64,
}

impl Semaphore {
    pub(crate) fn new(most: usize) -> Self {
        let (out, waiting) = (BTreeMap::new(), VecDeque::new());
        let state = State { most: most.max(1), out, waiting, next: 0 };
        Semaphore { state: Mutex::new(state), freed: Condvar::new() }
    }

    pub(crate) fn take(&self, limit: &TimeLimit) -> Result<Permit<'_>, Error> {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next = number.wrapping_add(1);
        let mut is_waiting = false;
        loop {
            if state.waiting.front().is_none_or(|first| *first == number) {
                if state.out.len() >= state.most {
                    state.out.retain(|_, since| !limit.is_given_up(*since));
                }
                if state.out.len() < state.most {
                    state.waiting.retain(|waiting| *waiting != number);
                    state.out.insert(number, Instant::now());
                    drop(state);
                    if is_waiting {
                        self.freed.notify_all();
                    }
                    return Ok(Permit { sessions: self, number });
                }
            }
            let left = limit.left();
            if left.is_zero() {
                state.waiting.retain(|waiting| *waiting != number);
                drop(state);
                self.freed.notify_all();
                return Err(Error::NoSession);
            }
            if !is_waiting {
                is_waiting = true;
                state.waiting.push_back(number);
            }
            let waited = self.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has no more than `most` of them at once from now on.
    pub(crate) fn limit(&self, most: usize) {
        lock(&self.state).most = most.max(1);
        self.freed.notify_all();
    }

    /// The token has no session for who holds one: others use it as well, and less has to do.
    pub(crate) fn lower(&self) {
        let mut state = lock(&self.state);
        state.most = state.out.len().saturating_sub(1).max(1);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.sessions.state);
        state.out.remove(&self.number);
        let is_awaited = !state.waiting.is_empty();
        drop(state);
        if is_awaited {
            self.sessions.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn no_more_are_out_than_may_be_but_for_those_given_up() {
        let limit = |recovery_timeout| {
            TimeLimit::new(Duration::from_millis(recovery_timeout), Duration::MAX)
        };
        let sessions = Semaphore::new(2);
        let [one, two] = [sessions.take(&limit(0)).unwrap(), sessions.take(&limit(0)).unwrap()];
        assert!(matches!(sessions.take(&limit(10)).err(), Some(Error::NoSession)));
        drop(two);
        sessions.lower();
        assert!(sessions.take(&limit(0)).is_err(), "one is out, and one may be");
        let gives_up = TimeLimit::new(Duration::ZERO, Duration::ZERO);
        let other = sessions.take(&gives_up).unwrap();
        drop(one);
        assert!(sessions.take(&limit(0)).is_err(), "it gives back nothing");
        drop(other);
        sessions.limit(2);
        assert!(sessions.take(&limit(0)).is_ok());
    }
}
