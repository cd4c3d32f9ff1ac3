//! Who is inside of a library: any number of threads, or one alone.

use super::error::Pkcs11Error;
use super::term::Term;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A lock for readers and a writer that is waited for within a term, and that knows since when
/// each of them is inside.
///
/// Not `std`'s: a call that never returns would keep whoever comes next for ever.
pub(super) struct Gate {
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
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    /// `None` for who is alone.
    number: Option<u64>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Gate { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Goes in beside others.
    pub(super) fn enter(&self, term: &Term) -> Result<Pass<'_>, Pkcs11Error> {
        let mut state = lock(&self.state);
        loop {
            let held_back = state.waiting.values().min().copied();
            let held_back = held_back.map(|until| until.saturating_duration_since(Instant::now()));
            let held_back = held_back.filter(|rest| !rest.is_zero());
            if state.alone.is_none() && held_back.is_none() {
                let number = state.enter();
                return Ok(Pass { gate: self, number: Some(number) });
            }
            let left = term.left();
            if left.is_zero() || state.alone.is_some_and(|since| term.is_given_up(since)) {
                return Err(state.in_vain(term));
            }
            state = self.wait(state, held_back.map_or(left, |rest| rest.min(left)));
        }
    }

    /// Goes in once nobody is inside. Others are held back for half of the term, so that it comes
    /// to that, and no longer, so that one call that hangs does not keep all of them.
    pub(super) fn enter_alone(&self, term: &Term) -> Result<Pass<'_>, Pkcs11Error> {
        let mut state = lock(&self.state);
        let number = state.number();
        let until = Instant::now().checked_add(term.half()).unwrap_or_else(Instant::now);
        loop {
            if state.alone.is_none() && state.inside.is_empty() {
                state.waiting.remove(&number);
                state.alone = Some(Instant::now());
                return Ok(Pass { gate: self, number: None });
            }
            let left = term.left();
            let longest = state.longest();
            if left.is_zero() || longest.is_some_and(|since| term.is_given_up(since)) {
                state.waiting.remove(&number);
                let error = state.in_vain(term);
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

    fn in_vain(&self, term: &Term) -> Pkcs11Error {
        let calls = self.inside.len().saturating_add(usize::from(self.alone.is_some()));
        term.in_vain(calls, self.longest().unwrap_or_else(Instant::now))
    }
}

impl Pass<'_> {
    /// Lets others in beside who was alone.
    pub(super) fn share(mut self) -> Self {
        if self.number.is_none() {
            let mut state = lock(&self.gate.state);
            state.alone = None;
            self.number = Some(state.enter());
            drop(state);
            self.gate.changed.notify_all();
        }
        self
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        match self.number {
            Some(number) => drop(state.inside.remove(&number)),
            None => state.alone = None,
        }
        let is_awaited = !state.waiting.is_empty() || self.number.is_none();
        drop(state);
        if is_awaited {
            self.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    fn term(patience: u64) -> Term {
        Term::new(Duration::from_millis(patience), Duration::MAX)
    }

    #[test]
    fn whoever_is_alone_waits_for_all_and_all_for_him() {
        let gate = Gate::new();
        let inside = [gate.enter(&term(0)).unwrap(), gate.enter(&term(0)).unwrap()];
        let in_vain = gate.enter_alone(&term(10)).err();
        assert!(matches!(in_vain, Some(Pkcs11Error::Hanging { calls: 2 })), "{in_vain:?}");
        // Who waited in vain holds nobody back.
        drop(gate.enter(&term(0)).unwrap());
        thread::scope(|scope| {
            let alone = scope.spawn(|| gate.enter_alone(&term(60_000)).map(drop));
            thread::sleep(Duration::from_millis(20));
            drop(inside);
            assert!(alone.join().unwrap().is_ok());
        });
        let alone = gate.enter_alone(&term(0)).unwrap();
        assert!(gate.enter(&term(10)).is_err());
        assert!(gate.enter_alone(&term(10)).is_err());
        let shared = alone.share();
        drop(gate.enter(&term(0)).unwrap());
        drop(shared);
        drop(gate.enter_alone(&term(0)).unwrap());
    }

    #[test]
    fn one_call_that_hangs_holds_others_back_for_half_a_term() {
        let gate = Gate::new();
        let hangs = gate.enter(&term(0)).unwrap();
        thread::scope(|scope| {
            let alone = scope.spawn(|| gate.enter_alone(&term(3_600_000)).map(drop));
            while lock(&gate.state).waiting.is_empty() {
                thread::yield_now();
            }
            assert!(gate.enter(&term(0)).is_err(), "held back");
            // Half of the term is over.
            let enters = || {
                lock(&gate.state).waiting.values_mut().for_each(|until| *until = Instant::now());
                gate.enter(&term(0)).is_ok()
            };
            while !enters() {
                thread::yield_now();
            }
            assert!(!lock(&gate.state).waiting.is_empty(), "it still waits");
            drop(hangs);
            assert!(alone.join().unwrap().is_ok());
        });
        let hangs = gate.enter(&term(0)).unwrap();
        let gives_up = Term::new(Duration::ZERO, Duration::ZERO);
        let given_up = gate.enter_alone(&gives_up).err();
        assert!(matches!(given_up, Some(Pkcs11Error::RestartProcess { calls: 1 })), "{given_up:?}");
        drop(gate.enter(&term(0)).unwrap());
        drop(hangs);
        drop(gate.enter_alone(&term(0)).unwrap());
    }
}
