//! The bounds of a cache, and what it counts.

use core::time::Duration;

/// How much a [`CachingKeyring`](crate::CachingKeyring) keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CachingOptions {
    pub(super) capacity: usize,
    pub(super) max_age: Duration,
    pub(super) serves_unanswered: bool,
}

impl CachingOptions {
    /// Up to 1,000 unwrapped data keys, for up to 60 seconds each.
    pub const fn new() -> Self {
        CachingOptions {
            capacity: 1000,
            max_age: Duration::from_secs(60),
            serves_unanswered: false,
        }
    }

    /// Keeps at most `capacity` unwrapped data keys; the least recently used gives way. 0 keeps
    /// none, and still makes one call for threads that want the same key at once.
    ///
    /// An entry takes some 300 bytes with software keys, and as much more as the wrapped key of a
    /// service is longer than 72 bytes.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Serves an unwrapped data key for less than `max_age`, counted from before the call that
    /// unwrapped it; hits do not prolong it.
    ///
    /// It bounds how long a cached key outlives a disable that the inner keyring's `freshness`
    /// does not see. Longer saves calls; shorter takes a right away sooner. 0 keeps none.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Serves a cached data key, for no longer than [`max_age`](Self::max_age), also while the inner
    /// keyring does not answer how its slot stands: an outage of a service then does not reach what
    /// was read a moment ago. Off by default.
    ///
    /// Only an answer that may come later ([`KeyringError::is_retryable`]) counts as none: a denial or
    /// a refusal is honoured at once.
    ///
    /// [`KeyringError::is_retryable`]: crate::keyring::KeyringError::is_retryable
    ///
    /// # Security
    ///
    /// Whoever can cut the service off keeps a disabled key in use for `max_age` after its last unwrap.
    #[must_use]
    pub const fn serve_unanswered(mut self) -> Self {
        self.serves_unanswered = true;
        self
    }
}

impl Default for CachingOptions {
    fn default() -> Self {
        CachingOptions::new()
    }
}

/// What a [`CachingKeyring`](crate::CachingKeyring) has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachingStats {
    /// Data keys served without a call of the inner keyring, those of [`waits`](Self::waits) that
    /// succeeded included.
    pub hits: u64,
    /// Calls of the inner keyring, failed ones included, for keys that were not there. What the
    /// inner keyring refuses or disowns by its label is not counted.
    pub misses: u64,
    /// Data keys that gave way to others for want of room.
    pub evictions: u64,
    /// Times a thread came to wait for another's call.
    pub waits: u64,
}
