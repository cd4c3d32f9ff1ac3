//! How many threads work in sessions of a token at once, and who is next.

use super::error::Pkcs11Error;
use super::term::Term;
use crate::sync::lock;
use alloc::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Permits to work in a session: no more than there may be sessions.
pub(super) struct Permits {
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
pub(super) struct Permit<'a> {
    permits: &'a Permits,
    number: u64,
}

impl Permits {
    pub(super) fn new(most: usize) -> Self {
        let (out, waiting) = (BTreeMap::new(), VecDeque::new());
        let state = State { most: most.max(1), out, waiting, next: 0 };
        Permits { state: Mutex::new(state), freed: Condvar::new() }
    }

    pub(super) fn take(&self, term: &Term) -> Result<Permit<'_>, Pkcs11Error> {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next = number.wrapping_add(1);
        let mut is_waiting = false;
        loop {
            if state.waiting.front().is_none_or(|first| *first == number) {
                if state.out.len() >= state.most {
                    state.out.retain(|_, since| !term.is_given_up(*since));
                }
                if state.out.len() < state.most {
                    state.waiting.retain(|waiting| *waiting != number);
                    state.out.insert(number, Instant::now());
                    drop(state);
                    if is_waiting {
                        self.freed.notify_all();
                    }
                    return Ok(Permit { permits: self, number });
                }
            }
            let left = term.left();
            if left.is_zero() {
                state.waiting.retain(|waiting| *waiting != number);
                drop(state);
                self.freed.notify_all();
                return Err(Pkcs11Error::NoSession);
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
    pub(super) fn limit(&self, most: usize) {
        lock(&self.state).most = most.max(1);
        self.freed.notify_all();
    }

    /// The token has no session for who holds one: others use it as well, and less has to do.
    pub(super) fn lower(&self) {
        let mut state = lock(&self.state);
        state.most = state.out.len().saturating_sub(1).max(1);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.permits.state);
        state.out.remove(&self.number);
        let is_awaited = !state.waiting.is_empty();
        drop(state);
        if is_awaited {
            self.permits.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn no_more_are_out_than_may_be_but_for_those_given_up() {
        let term = |patience| Term::new(Duration::from_millis(patience), Duration::MAX);
        let permits = Permits::new(2);
        let [one, two] = [permits.take(&term(0)).unwrap(), permits.take(&term(0)).unwrap()];
        assert!(matches!(permits.take(&term(10)).err(), Some(Pkcs11Error::NoSession)));
        drop(two);
        permits.lower();
        assert!(permits.take(&term(0)).is_err(), "one is out, and one may be");
        let gives_up = Term::new(Duration::ZERO, Duration::ZERO);
        let other = permits.take(&gives_up).unwrap();
        drop(one);
        assert!(permits.take(&term(0)).is_err(), "it gives back nothing");
        drop(other);
        permits.limit(2);
        assert!(permits.take(&term(0)).is_ok());
    }
}
