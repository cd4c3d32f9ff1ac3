//! A cache of data keys in front of a keyring whose calls cost something (feature `std`).

mod clock;
mod entries;
mod options;
mod single_flight;

pub(crate) use clock::is_young;
pub use clock::{CacheClock, InstantClock};
pub use options::{CachingOptions, CachingStats};

use super::{Freshness, Keyring, KeyringError, WrapContext, forward_keyring};
use crate::crypto::secret::DataKey;
use crate::format::{Slot, SlotLabel};
use crate::sync::lock;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use entries::{EntryKey, Store, entry_key};
use single_flight::{Boarding, Flights, Leader};
use std::sync::{Mutex, MutexGuard};

/// A keyring that remembers data keys, for one whose calls cost milliseconds or money.
///
/// It keeps unwrapped data keys, so that a message that is read again costs no call. What saves wraps
/// is a [`DataKeyReuse`](crate::DataKeyReuse).
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
/// - **A data key is found by the core of its message and the whole slot**: label and wrapped
///   key, to the last byte. What was altered, moved or relabelled is not found, and goes to the
///   inner keyring. The core verifies each data key that comes out, and only such are kept.
/// - **The state is asked on every hit**, of [`Keyring::freshness`] of the inner keyring. If it
///   answers that the slot is not its own or is refused, or does not answer (unless
///   [`CachingOptions::serve_unanswered`] says otherwise), nothing is served from the cache: the inner
///   keyring's own `unwrap` decides. So a disable, a destruction or, on
///   a strict keyring, a compromise is honoured at once where `freshness` knows of it, and
///   otherwise after [`CachingOptions::max_age`] (60 seconds) at the latest: that is how long a
///   key that was cached outlives the right to unwrap it.
/// - **One call for many**: threads that miss the same key at once cause one call of the inner
///   keyring and share its result, an error too. Errors are not cached. If the inner keyring
///   panics, its caller's thread panics and the next one tries. No lock is held across a call.
/// - A wrap and a rewrap go to the inner keyring; what verifies its new slot is a call that no cache
///   answers.
///
/// # Security
///
/// Data keys stay in memory longer: for `max_age` after their last unwrap, or until the next call
/// after that, for nothing here runs on a timer. [`purge`](Self::purge) wipes them now; so does
/// dropping the keyring. Whoever reads this process's memory reads the messages of those keys.
pub struct CachingKeyring<K, C = InstantClock> {
    inner: K,
    clock: C,
    serves_unanswered: bool,
    state: Mutex<State>,
    flights: Flights,
}

struct State {
    store: Store,
    stats: CachingStats,
    /// Grows with each purge: a call begun before leaves nothing behind.
    epoch: u64,
}

impl<K: Keyring> CachingKeyring<K> {
    /// A cache of up to 1,000 data keys for up to 60 seconds each.
    pub fn new(inner: K) -> Self {
        CachingKeyring::with_options(inner, CachingOptions::new())
    }

    /// A cache with other bounds.
    pub fn with_options(inner: K, options: CachingOptions) -> Self {
        CachingKeyring::with_clock(inner, options, InstantClock::new())
    }
}

impl<K: Keyring, C: CacheClock> CachingKeyring<K, C> {
    /// As [`with_options`](CachingKeyring::with_options), with a clock of the caller's.
    pub fn with_clock(inner: K, options: CachingOptions, clock: C) -> Self {
        let state = State {
            store: Store::new(options.capacity, options.max_age),
            stats: CachingStats::default(),
            epoch: 0,
        };
        let (state, flights) = (Mutex::new(state), Flights::default());
        CachingKeyring {
            inner,
            clock,
            serves_unanswered: options.serves_unanswered,
            state,
            flights,
        }
    }

    /// The keyring beneath.
    pub fn inner(&self) -> &K {
        &self.inner
    }

    /// Drops every data key, which wipes it. What calls under way bring is not kept either.
    pub fn purge(&self) {
        let mut state = lock(&self.state);
        state.store.clear();
        state.epoch = state.epoch.wrapping_add(1);
    }

    /// What the cache has done so far.
    pub fn stats(&self) -> CachingStats {
        let stats = lock(&self.state).stats;
        CachingStats { waits: self.flights.waits(), ..stats }
    }

    /// Data keys there are now.
    pub fn len(&self) -> usize {
        self.state_now().1.store.len()
    }

    /// Whether no unwrapped data key is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state without what is too old by now.
    fn state_now(&self) -> (Duration, MutexGuard<'_, State>) {
        let mut state = lock(&self.state);
        // Under the lock: no entry is from after the time that another thread goes by.
        let now = self.clock.now();
        state.store.sweep(now);
        (now, state)
    }

    /// Whether the inner keyring says, now, that this slot is its own and in use.
    fn may_serve(&self, label: &SlotLabel<'_>, key: &EntryKey) -> bool {
        match self.inner.freshness(label) {
            Ok(Freshness::Primary | Freshness::Stale | Freshness::Compromised) => true,
            Ok(Freshness::NotMine | Freshness::Refused(_)) => {
                lock(&self.state).store.remove(key);
                false
            }
            // It may answer again within the age of what is there.
            Err(error) => self.serves_unanswered && error.is_retryable(),
        }
    }

    fn find(&self, key: &EntryKey) -> Option<Arc<DataKey>> {
        let (now, mut state) = self.state_now();
        let found = state.store.find(key, now)?;
        // Saturates: a statistic.
        state.stats.hits = state.stats.hits.saturating_add(1);
        Some(found)
    }

    /// Calls the inner keyring, for everyone who waits.
    fn fetch(
        &self,
        leader: Leader<'_>,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let key = leader.key().clone();
        // Another call may have landed between the look into the cache and this one's start.
        if let Some(found) = self.find(&key) {
            let filled = serve(&found, data_key);
            leader.land(Ok(found));
            return filled;
        }
        // The age counts from before the call: that is when the inner keyring's state was asked.
        let born = self.clock.now();
        let epoch = {
            let mut state = lock(&self.state);
            // Saturates: a statistic.
            state.stats.misses = state.stats.misses.saturating_add(1);
            state.epoch
        };
        match self.inner.unwrap(slot, context, data_key) {
            Ok(()) => {
                let shared = shared_copy(data_key);
                // What the core is about to refuse is not worth keeping (SPEC K-CHECK).
                if context.verify(&shared).is_ok() {
                    let mut state = lock(&self.state);
                    if state.epoch == epoch {
                        let evicted = state.store.insert(key, shared.clone(), born);
                        // Saturates: a statistic.
                        state.stats.evictions = state.stats.evictions.saturating_add(evicted);
                    }
                }
                leader.land(Ok(shared));
                Ok(())
            }
            Err(error) => {
                leader.land(Err(error.clone()));
                Err(error)
            }
        }
    }
}

/// Copies a data key to where the core wants it.
fn serve(found: &DataKey, data_key: &mut DataKey) -> Result<(), KeyringError> {
    // As long as any data key can be: it fits.
    if data_key.set(found.expose()) { Ok(()) } else { Err(KeyringError::Authentication) }
}

/// A copy on the heap, where it stays until the last user lets it go.
fn shared_copy(data_key: &DataKey) -> Arc<DataKey> {
    let mut shared = Arc::new(DataKey::empty());
    if let Some(space) = Arc::get_mut(&mut shared) {
        // As long as any data key can be: it fits.
        let _ = space.set(data_key.expose());
    }
    shared
}

impl<K: Keyring, C: CacheClock> Keyring for CachingKeyring<K, C> {
    forward_keyring!(self => self.inner; primary, wrap, wrap_under, holds, rewrap, freshness);

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let key = entry_key(slot, context);
        while self.may_serve(&slot.label, &key) {
            if let Some(found) = self.find(&key) {
                return serve(&found, data_key);
            }
            match self.flights.board(&key) {
                Boarding::Leads(leader) => return self.fetch(leader, slot, context, data_key),
                Boarding::Landed(landing) => {
                    let found = landing?;
                    // The wait may have been long.
                    if self.may_serve(&slot.label, &key) {
                        let mut state = lock(&self.state);
                        // Saturates: a statistic.
                        state.stats.hits = state.stats.hits.saturating_add(1);
                        return serve(&found, data_key);
                    }
                }
                Boarding::Lost => {}
            }
        }
        self.inner.unwrap(slot, context, data_key)
    }
}

impl<K, C> fmt::Debug for CachingKeyring<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = lock(&self.state).stats;
        f.debug_struct("CachingKeyring").field("stats", &stats).finish_non_exhaustive()
    }
}
