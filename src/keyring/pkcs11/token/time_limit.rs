//! How long one operation goes on, and locks that nobody waits for beyond that: a library may keep
//! whoever holds one for ever.

use crate::keyring::pkcs11::error::Error;
use crate::sync::lock;
use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The time that one operation has.
#[derive(Clone, Copy)]
pub(crate) struct TimeLimit {
    started: Instant,
    recovery_timeout: Duration,
    hang_limit: Duration,
}

impl TimeLimit {
    /// A call that is under way for `hang_limit` is given up, but none that is within `recovery_timeout`.
    pub(crate) fn new(recovery_timeout: Duration, hang_limit: Duration) -> Self {
        let hang_limit = hang_limit.max(recovery_timeout);
        TimeLimit { started: Instant::now(), recovery_timeout, hang_limit }
    }

    pub(crate) fn left(&self) -> Duration {
        self.recovery_timeout.saturating_sub(self.started.elapsed())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Half of all the time.
    pub(crate) fn half(&self) -> Duration {
        self.recovery_timeout.checked_div(2).unwrap_or(self.recovery_timeout)
    }

    /// Whether what began then is given up.
    pub(crate) fn is_given_up(&self, since: Instant) -> bool {
        since.elapsed() >= self.hang_limit
    }

    /// The error of who waited in vain for calls that are under way, the longest since `since`.
    pub(crate) fn in_vain(&self, calls: usize, since: Instant) -> Error {
        if self.is_given_up(since) {
            Error::RestartProcess { calls }
        } else {
            Error::Hanging { calls }
        }
    }
}

/// A lock that is waited for within a limit.
pub(crate) struct Turn {
    taken: Mutex<Option<Instant>>,
    freed: Condvar,
}

/// The lock, as long as it is held.
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    pub(crate) fn new() -> Self {
        Turn { taken: Mutex::new(None), freed: Condvar::new() }
    }

    pub(crate) fn take(&self, limit: &TimeLimit) -> Result<Taken<'_>, Error> {
        let mut taken = lock(&self.taken);
        while let Some(since) = *taken {
            let left = limit.left();
            if left.is_zero() || limit.is_given_up(since) {
                return Err(limit.in_vain(1, since));
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
