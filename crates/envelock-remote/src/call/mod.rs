//! One call to a service, whatever is called.
//!
//! An [`Operation`](operation) has a deadline and makes attempts. An attempt is a call of its own or a part of a
//! [`batch`]. A [`Gate`](gate) lets calls through: so many at once, none while the circuit is open, and none
//! longer than its time. Time is the clock of tokio; the jitter's generator is an argument.

mod backoff;
pub(crate) mod batch;
mod breaker;
mod deadline;
mod error;
pub(crate) mod gate;
pub(crate) mod operation;
mod options;
mod service;
pub(crate) mod task;
#[cfg(test)]
mod tests;

pub(crate) use deadline::with_own_deadline;
pub use deadline::{with_deadline, with_deadline_sync};
pub use error::CallError;
pub use options::CallOptions;

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The error of a service.
pub(crate) trait Failure: Error + Clone + Send + Sync + 'static {
    /// Returns what the failure means for the next call.
    fn next(&self) -> Next;

    /// Returns the error of a call that had no response within `after`. It is [`Next::Unavailable`].
    fn no_response(after: Duration) -> Self;

    /// Returns the error of a batch of `items` that has `responses`.
    fn wrong_count(items: usize, responses: usize) -> Self;
}

/// What a failure means for the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same call fails again.
    Final,
    /// The service is there, and accepts fewer calls.
    Throttled { retry_after: Option<Duration> },
    /// The service was not reached, or failed.
    Unavailable,
}

/// Locks a value that is whole between any two statements, and so after a panic too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the instant `time` after `now`, or the far future.
fn after(now: Instant, time: Duration) -> Instant {
    // Longer times are for ever to every caller, and beyond the timers of tokio.
    const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now + time.min(LONGEST)
}
