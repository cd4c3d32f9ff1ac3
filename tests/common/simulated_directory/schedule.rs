//! Two threads whose system calls are made in a given order.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard};

thread_local! {
    static ROLE: Cell<usize> = const { Cell::new(0) };
}

/// The role of the calling thread.
pub fn role() -> usize {
    ROLE.get()
}

/// Runs `body` in a role.
pub fn in_role<T>(role: usize, body: impl FnOnce() -> T) -> T {
    ROLE.set(role);
    body()
}

/// Which of two threads makes the next call. A thread that has ended leaves the rest to the other.
pub struct Schedule {
    state: Mutex<State>,
    advanced: Condvar,
}

struct State {
    order: Vec<usize>,
    next: usize,
    has_ended: [bool; 2],
    /// The calls made when the first of the two had ended.
    decided: Option<usize>,
}

/// The right to make one call.
pub struct Step<'a>(&'a Schedule);

impl Schedule {
    pub fn new(order: Vec<usize>) -> Self {
        let state = Mutex::new(State { order, next: 0, has_ended: [false; 2], decided: None });
        Schedule { state, advanced: Condvar::new() }
    }

    /// Runs `body` as thread `role`, 0 or 1.
    pub fn run<T>(&self, role: usize, body: impl FnOnce() -> T) -> T {
        ROLE.set(role);
        let answer = body();
        let mut state = self.lock();
        state.has_ended[role] = true;
        let next = state.next;
        state.decided.get_or_insert(next);
        drop(state);
        self.advanced.notify_all();
        answer
    }

    /// Returns how much of the order decided the run: what follows is left to the thread that remained.
    pub fn decided(&self) -> usize {
        let state = self.lock();
        state.decided.unwrap_or(usize::MAX).min(state.order.len())
    }

    /// Waits until it is the calling thread's turn.
    pub fn step(&self) -> Step<'_> {
        let role = ROLE.get();
        let waits = |state: &mut State| {
            !state.has_ended[1 - role]
                && state.order.get(state.next).is_some_and(|&step| step != role)
        };
        drop(self.advanced.wait_while(self.lock(), waits).unwrap());
        Step(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.next += 1;
        // The other one would only see that it is not its turn.
        if state.order.get(state.next) != Some(&ROLE.get()) {
            self.0.advanced.notify_all();
        }
    }
}
