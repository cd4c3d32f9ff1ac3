//! A cache of data keys in front of a keyring whose calls cost something (feature `std`).

mod cached_keys;
mod clock;
mod options;
mod single_flight;

pub(crate) use clock::{Clock, is_young, monotonic_clock};
pub use options::{CachingOptions, CachingStats};

use super::{Freshness, Keyring, KeyringError, WrapContext, forward_keyring};
use crate::crypto::secret::DataKey;
use crate::format::{CHECK_HASH, Slot, SlotLabel, Suite};
use crate::sync::lock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use cached_keys::{CachedKeys, entry_key};
use core::fmt;
use core::time::Duration;
use single_flight::{Joined, Leader, SingleFlight};
use std::sync::{Mutex, MutexGuard};

/// Caches unwrapped data keys in front of a keyring whose calls cost milliseconds or money (feature
/// `std`).
///
/// A message that is read again costs no call. [`DataKeyReuse`](crate::DataKeyReuse) saves wraps.
///
/// ```
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, CachingKeyring, Envelope, MemoryKeyring};
///
/// let slow = MemoryKeyring::create("orders")?; // or a key management service
/// let envelope = Envelope::new(CachingKeyring::new(slow));
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// for _ in 0..3 {
///     assert_eq!(envelope.decrypt(&message, Aad::none())?, b"hello");
/// }
/// assert_eq!(envelope.keyring().stats().misses, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Contract
///
/// - **The key of an entry is the core of the message and the whole slot**, label and wrapped key, to
///   the last byte. A slot that was altered, moved or relabelled goes to the inner keyring. Only data
///   keys that pass their check are kept, and the core verifies each one that comes out.
/// - **The state is checked on every hit**, by [`Keyring::freshness`] of the inner keyring. If the slot
///   is not its own or is refused, or `freshness` fails (unless
///   [`CachingOptions::serve_while_unavailable`] is set), nothing is served from the cache and the inner
///   keyring's `unwrap` decides. So a disable, a destruction or, on a strict keyring, a compromise takes
///   effect at once if `freshness` knows of it, and otherwise after [`CachingOptions::max_age`]
///   (60 seconds) at the latest: so long may a cached key outlive the right to unwrap it.
/// - **Single flight**: threads that miss the same key at the same time cause one call of the inner
///   keyring and share its result, also an error. Errors are not cached. If the inner keyring panics,
///   its caller's thread panics and the next one tries. No lock is held across a call.
/// - A wrap and a rewrap go to the inner keyring, and so does the unwrap that verifies a new slot: it
///   keeps nothing, so that a rewrap of many messages evicts no key that is read.
///
/// # Security
///
/// Data keys stay in memory longer: for `max_age` after their last unwrap, or until the next call
/// after that, since nothing here runs on a timer. [`purge`](Self::purge) wipes them now, and so does
/// dropping the keyring. A reader of this process's memory can read the messages of those keys.
pub struct CachingKeyring<K> {
    inner: K,
    clock: Clock,
    serves_while_unavailable: bool,
    state: Mutex<CacheState>,
    calls: SingleFlight,
}

struct CacheState {
    keys: CachedKeys,
    stats: CachingStats,
    /// Grows with each purge: a call that began before it keeps nothing.
    epoch: u64,
}

impl<K: Keyring> CachingKeyring<K> {
    /// Returns a cache of up to 1,000 data keys for up to 60 seconds each.
    pub fn new(inner: K) -> Self {
        CachingKeyring::with_options(inner, CachingOptions::new())
    }

    /// Returns a cache with the capacity, maximum age and behaviour of `options`.
    pub fn with_options(inner: K, options: CachingOptions) -> Self {
        CachingKeyring {
            inner,
            clock: monotonic_clock(),
            serves_while_unavailable: options.serves_while_unavailable,
            state: Mutex::new(CacheState {
                keys: CachedKeys::new(options.capacity, options.max_age),
                stats: CachingStats::default(),
                epoch: 0,
            }),
            calls: SingleFlight::default(),
        }
    }

    /// Measures ages by `clock`, which returns the time since a fixed moment, instead of the system's
    /// monotonic clock ([`std::time::Instant`]). For tests and simulations.
    ///
    /// It runs under a lock of the cache and must not call it. After a clock goes back, entries from its
    /// future are expired. A clock that stops keeps keys without end, as the clock of the system may do
    /// while the machine sleeps.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Returns the keyring behind the cache.
    pub fn inner(&self) -> &K {
        &self.inner
    }

    /// Drops and thereby wipes every data key. The results of running calls are not kept either.
    pub fn purge(&self) {
        let mut state = lock(&self.state);
        state.keys.clear();
        state.epoch = state.epoch.wrapping_add(1);
    }

    /// Returns the counts since the keyring was created.
    pub fn stats(&self) -> CachingStats {
        let stats = lock(&self.state).stats;
        CachingStats { waits: self.calls.waits(), ..stats }
    }

    /// Returns the number of cached data keys.
    pub fn len(&self) -> usize {
        self.state_now().1.keys.len()
    }

    /// Returns whether no data key is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the time and the state without expired entries.
    fn state_now(&self) -> (Duration, MutexGuard<'_, CacheState>) {
        let mut state = lock(&self.state);
        // Under the lock: no entry is younger than the time that another thread has read.
        let now = (self.clock)();
        state.keys.sweep(now);
        (now, state)
    }

    /// Whether the inner keyring reports, now, that this slot is its own and in use.
    fn may_serve(&self, label: &SlotLabel<'_>, key: &[u8]) -> bool {
        match self.inner.freshness(label) {
            Ok(Freshness::Primary | Freshness::Stale | Freshness::Compromised) => true,
            Ok(Freshness::NotMine | Freshness::Refused(_)) => {
                lock(&self.state).keys.remove(key);
                false
            }
            // It may succeed again within the age of the entries.
            Err(error) => self.serves_while_unavailable && error.is_retryable(),
        }
    }

    fn find(&self, key: &[u8]) -> Option<Arc<DataKey>> {
        let (now, mut state) = self.state_now();
        let found = state.keys.find(key, now)?;
        // Saturates: a statistic.
        state.stats.hits = state.stats.hits.saturating_add(1);
        Some(found)
    }

    /// Calls the inner keyring, for all threads that wait.
    fn fetch(
        &self,
        leader: Leader<'_>,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let key = leader.key().clone();
        // Another call may have finished between the lookup and the start of this one.
        if let Some(found) = self.find(&key) {
            data_key.copy_from(&found);
            leader.finish(Ok(found));
            return Ok(());
        }
        // The age counts from before the call: that is when the inner keyring's state was asked.
        let born = (self.clock)();
        let epoch = {
            let mut state = lock(&self.state);
            // Saturates: a statistic.
            state.stats.misses = state.stats.misses.saturating_add(1);
            state.epoch
        };
        match self.inner.unwrap(slot, context, data_key) {
            Ok(()) => {
                let shared = shared_copy(data_key, context.suite());
                // The core is about to refuse any other (SPEC K-CHECK).
                if context.verify(&shared).is_ok() {
                    let mut state = lock(&self.state);
                    if state.epoch == epoch {
                        let evicted = state.keys.insert(key, shared.clone(), born);
                        // Saturates: a statistic.
                        state.stats.evictions = state.stats.evictions.saturating_add(evicted);
                    }
                }
                leader.finish(Ok(shared));
                Ok(())
            }
            Err(error) => {
                leader.finish(Err(error.clone()));
                Err(error)
            }
        }
    }
}

/// A copy on the heap, which stays there until its last owner drops it, with all set up that a read
/// of its message derives from it.
fn shared_copy(data_key: &DataKey, suite: Suite) -> Arc<DataKey> {
    let mut shared = Arc::new(DataKey::empty());
    if let Some(copy) = Arc::get_mut(&mut shared) {
        copy.copy_from(data_key);
        copy.set_up(CHECK_HASH);
        copy.set_up(suite.hash());
    }
    shared
}

impl<K: Keyring> Keyring for CachingKeyring<K> {
    forward_keyring!(self => self.inner; visit_primaries, wrap, wrap_under, holds, rewrap, freshness);

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        if context.is_proof() {
            return self.inner.unwrap(slot, context, data_key);
        }
        let key = entry_key(slot, context);
        while self.may_serve(&slot.label, &key) {
            if let Some(found) = self.find(&key) {
                data_key.copy_from(&found);
                return Ok(());
            }
            match self.calls.join(key.as_slice().into()) {
                Joined::Leader(leader) => return self.fetch(leader, slot, context, data_key),
                Joined::Finished(outcome) => {
                    let found = outcome?;
                    // The wait may have been long.
                    if self.may_serve(&slot.label, &key) {
                        let mut state = lock(&self.state);
                        // Saturates: a statistic.
                        state.stats.hits = state.stats.hits.saturating_add(1);
                        data_key.copy_from(&found);
                        return Ok(());
                    }
                }
                Joined::Panicked => {}
            }
        }
        self.inner.unwrap(slot, context, data_key)
    }
}

impl<K> fmt::Debug for CachingKeyring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = lock(&self.state).stats;
        f.debug_struct("CachingKeyring").field("stats", &stats).finish_non_exhaustive()
    }
}
