//! The age of a cached key: time that has passed, never the time of day.

use alloc::boxed::Box;
use core::time::Duration;
use std::time::Instant;

/// Returns the time since a fixed moment.
pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The monotonic clock of the system.
pub(crate) fn monotonic_clock() -> Clock {
    let start = Instant::now();
    Box::new(move || start.elapsed())
}

/// Whether less than `most` has passed from `born` to `now`. False for a `born` in the future.
pub(crate) fn is_young(born: Duration, now: Duration, most: Duration) -> bool {
    now.checked_sub(born).is_some_and(|age| age < most)
}
