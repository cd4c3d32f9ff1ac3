//! The cache's clock: how much time has passed, never what time it is.

use alloc::sync::Arc;
use core::time::Duration;
use std::time::Instant;

/// Tells a [`CachingKeyring`](crate::CachingKeyring) how old its entries are, and a
/// [`DataKeyReuse`](crate::DataKeyReuse) how old its batches are.
///
/// It is asked under a lock of theirs, and must not call them. Tests bring their own, so that they
/// need not wait. A clock that goes back makes every entry from its future expire; one that stands
/// still keeps keys for ever.
pub trait CacheClock: Send + Sync {
    /// Time since a fixed moment of the clock's own choice.
    fn now(&self) -> Duration;
}

impl<C: CacheClock + ?Sized> CacheClock for &C {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

impl<C: CacheClock + ?Sized> CacheClock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// The system's monotonic clock, [`std::time::Instant`].
///
/// On most systems it stands still while the machine sleeps, and so do the ages in a cache.
#[derive(Clone, Copy, Debug)]
pub struct InstantClock {
    start: Instant,
}

impl InstantClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        InstantClock { start: Instant::now() }
    }
}

impl Default for InstantClock {
    fn default() -> Self {
        InstantClock::new()
    }
}

impl CacheClock for InstantClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Whether less than `most` has passed from `born` to `now`. Not from a `born` yet to come.
pub(crate) fn is_young(born: Duration, now: Duration, most: Duration) -> bool {
    now.checked_sub(born).is_some_and(|age| age < most)
}
