//! How long one operation goes on, and locks that nobody waits for beyond that: a library may keep
//! whoever holds one for ever.

use super::error::Pkcs11Error;
use crate::sync::lock;
use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The time that one operation has.
#[derive(Clone, Copy)]
pub(super) struct Term {
    started: Instant,
    patience: Duration,
    hang_limit: Duration,
}

impl Term {
    /// A call that is under way for `hang_limit` is given up, but none that is within `patience`.
    pub(super) fn new(patience: Duration, hang_limit: Duration) -> Self {
        let hang_limit = hang_limit.max(patience);
        Term { started: Instant::now(), patience, hang_limit }
    }

    pub(super) fn left(&self) -> Duration {
        self.patience.saturating_sub(self.started.elapsed())
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Half of all the time.
    pub(super) fn half(&self) -> Duration {
        self.patience.checked_div(2).unwrap_or(self.patience)
    }

    /// Whether what began then is given up.
    pub(super) fn is_given_up(&self, since: Instant) -> bool {
        since.elapsed() >= self.hang_limit
    }

    /// The error of who waited in vain for calls that are under way, the longest since `since`.
    pub(super) fn in_vain(&self, calls: usize, since: Instant) -> Pkcs11Error {
        if self.is_given_up(since) {
            Pkcs11Error::RestartProcess { calls }
        } else {
            Pkcs11Error::Hanging { calls }
        }
    }
}

/// A lock that is waited for within a term.
pub(super) struct Turn {
    taken: Mutex<Option<Instant>>,
    freed: Condvar,
}

/// The lock, as long as it is held.
pub(super) struct Taken<'a>(&'a Turn);

impl Turn {
    pub(super) fn new() -> Self {
        Turn { taken: Mutex::new(None), freed: Condvar::new() }
    }

    pub(super) fn take(&self, term: &Term) -> Result<Taken<'_>, Pkcs11Error> {
        let mut taken = lock(&self.taken);
        while let Some(since) = *taken {
            let left = term.left();
            if left.is_zero() || term.is_given_up(since) {
                return Err(term.in_vain(1, since));
            }
            let waited = self.freed.wait_timeout(taken, left);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = Some(Instant::now());
        Ok(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *lock(&self.0.taken) = None;
        self.0.freed.notify_one();
    }
}
