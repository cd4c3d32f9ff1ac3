//! The bounds of a cache, and its counts.

use core::time::Duration;

/// Bounds of a [`CachingKeyring`](crate::CachingKeyring).
#[derive(Clone, Copy, Debug)]
pub struct CachingOptions {
    pub(super) capacity: usize,
    pub(super) max_age: Duration,
    pub(super) serves_while_unavailable: bool,
}

impl CachingOptions {
    /// Up to 1,000 unwrapped data keys, for up to 60 seconds each.
    pub const fn new() -> Self {
        CachingOptions {
            capacity: 1000,
            max_age: Duration::from_secs(60),
            serves_while_unavailable: false,
        }
    }

    /// Keeps at most `capacity` unwrapped data keys and evicts the least recently used. 0 keeps none,
    /// and still makes one call for threads that want the same key at the same time.
    ///
    /// An entry takes some 300 bytes with software keys, whose wrapped keys have 72 bytes; a longer
    /// wrapped key adds its difference.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Serves a data key for less than `max_age` from the start of the call that unwrapped it; hits do
    /// not prolong it.
    ///
    /// Bounds how long a cached key outlives a disable that the inner keyring's `freshness` does not
    /// see. A longer age saves calls; a shorter one makes a disable effective sooner. 0 keeps none.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Serves a cached data key, within its [`max_age`](Self::max_age), also while the inner keyring's
    /// `freshness` fails: messages read a moment ago then stay readable through an outage of a service.
    /// Off by default.
    ///
    /// Applies to retryable errors ([`KeyringError::is_retryable`]) only: a denial or a refusal takes
    /// effect at once.
    ///
    /// [`KeyringError::is_retryable`]: crate::keyring::KeyringError::is_retryable
    ///
    /// # Security
    ///
    /// An attacker who cuts the service off keeps a disabled key in use for `max_age` after its last
    /// unwrap.
    #[must_use]
    pub const fn serve_while_unavailable(mut self) -> Self {
        self.serves_while_unavailable = true;
        self
    }
}

impl Default for CachingOptions {
    fn default() -> Self {
        CachingOptions::new()
    }
}

/// Counts of a [`CachingKeyring`](crate::CachingKeyring) since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachingStats {
    /// Data keys served without a call of the inner keyring, also to threads that waited for another's
    /// call.
    pub hits: u64,
    /// Calls of the inner keyring for keys that were not cached, also failed ones. A slot that
    /// `freshness` refuses or does not know is not counted.
    pub misses: u64,
    /// Data keys evicted for lack of room.
    pub evictions: u64,
    /// Times that a thread waited for another's call.
    pub waits: u64,
}
