//! A cache of data keys in front of a keyring whose calls cost something (feature `std`).

mod batch;
mod clock;
mod flight;
mod options;
mod store;

pub use clock::{CacheClock, InstantClock};
pub use options::{CachingOptions, CachingStats};

use super::{Freshness, Keyring, KeyringError, WrapContext, forward_keyring};
use crate::crypto::secret::DataKey;
use crate::format::{Slot, SlotLabel, SlotWriter, Suite};
use crate::random::KeyringRng;
use crate::sync::lock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use batch::{Batches, Start, Wrapped};
use core::fmt;
use core::time::Duration;
use flight::{Boarding, Flights, Leader};
use options::Reuse;
use std::sync::{Mutex, MutexGuard};
use store::{EntryKey, Store, entry_key};

/// A keyring that remembers data keys, for one whose calls cost milliseconds or money.
///
/// While it decrypts it keeps unwrapped data keys, so that a message that is read again costs no
/// call. While it encrypts it can let one data key serve for several messages
/// ([`CachingOptions::reuse`]; off by default).
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
///   does not answer, or answers that the slot is not its own or is refused, nothing is served
///   from the cache: the inner keyring's own `unwrap` decides. So a disable, a destruction or, on
///   a strict keyring, a compromise is honoured at once where `freshness` knows of it, and
///   otherwise after [`CachingOptions::max_age`] (60 seconds) at the latest: that is how long a
///   key that was cached outlives the right to unwrap it.
/// - **One call for many**: threads that miss the same key at once cause one call of the inner
///   keyring and share its result, an error too. Errors are not cached. If the inner keyring
///   panics, its caller's thread panics and the next one tries. No lock is held across a call.
/// - **A reused data key** is wrapped once. Before each further message the inner keyring is asked
///   whether every slot is still under a primary of its own; a rotation, a disable or a
///   compromise ends the batch at once.
/// - A rewrap goes to the inner keyring; what verifies its new slot is a call that no cache
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
    reuse: Option<Reuse>,
    state: Mutex<State>,
    flights: Flights,
}

struct State {
    store: Store,
    batches: Batches,
    stats: CachingStats,
    /// The last wrap that was reused, and the bytes of messages under reused keys that no wrap has
    /// counted yet.
    uncounted: Option<(Arc<Wrapped>, u64)>,
    /// Grows with each purge: a call begun before leaves nothing behind.
    epoch: u64,
}

impl<K: Keyring> CachingKeyring<K> {
    /// A cache of up to 1,000 data keys for up to 60 seconds each, that reuses none.
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
            batches: Batches::default(),
            stats: CachingStats::default(),
            uncounted: None,
            epoch: 0,
        };
        let (state, flights) = (Mutex::new(state), Flights::default());
        CachingKeyring { inner, clock, reuse: options.reuse, state, flights }
    }

    /// The keyring beneath.
    pub fn inner(&self) -> &K {
        &self.inner
    }

    /// Drops every data key, which wipes it, and ends every batch. What calls under way bring
    /// is not kept either.
    pub fn purge(&self) {
        let mut state = lock(&self.state);
        state.store.clear();
        state.batches.clear();
        state.epoch = state.epoch.wrapping_add(1);
    }

    /// What the cache has done so far.
    pub fn stats(&self) -> CachingStats {
        let stats = lock(&self.state).stats;
        CachingStats { waits: self.flights.waits(), ..stats }
    }

    /// Data keys there are now, those not counted that serve for encryption.
    pub fn len(&self) -> usize {
        self.state_now().1.store.len()
    }

    /// Whether no unwrapped data key is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state without what is too old by now.
    fn state_now(&self) -> (Duration, MutexGuard<'_, State>) {
        // Outside of the lock: the clock can be the caller's.
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.store.sweep(now);
        if let Some(reuse) = &self.reuse {
            state.batches.sweep(reuse, now);
        }
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
            Err(_) => false,
        }
    }

    fn find(&self, key: &EntryKey) -> Option<Arc<DataKey>> {
        let (now, mut state) = self.state_now();
        let found = state.store.find(key, now)?;
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

    /// Wraps a fresh data key and starts a batch with it.
    fn wrap_first(
        &self,
        reuse: &Reuse,
        message: (&DataKey, &WrapContext<'_>, u64),
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (data_key, context, first_len) = message;
        let from = slots.slots().len();
        let born = self.clock.now();
        let epoch = lock(&self.state).epoch;
        // What reused keys protected counts along with the next wrap under the same version.
        let uncounted = lock(&self.state).uncounted.clone();
        let is_current =
            |(wrapped, _): &(Arc<Wrapped>, u64)| wrapped.is_current(&self.inner).unwrap_or(false);
        let earlier = match &uncounted {
            Some(reused) if is_current(reused) => reused.1,
            _ => 0,
        };
        let counted = context.with_plaintext_len(first_len.saturating_add(earlier));
        self.inner.wrap(data_key, &counted, slots, rng)?;
        if uncounted.is_some() {
            lock(&self.state).uncounted.take_if(|(_, bytes)| {
                *bytes = bytes.saturating_sub(earlier);
                *bytes == 0 || earlier == 0
            });
        }
        let wrapped = Wrapped::new(*context.core_bytes(), slots, from);
        let mut copy = Box::new(DataKey::empty());
        if copy.set(data_key.expose()) {
            let start = Start { data_key: copy, wrapped, first_len, born };
            let (now, mut state) = self.state_now();
            if state.epoch == epoch {
                state.batches.start(context.suite(), start, reuse, now);
            }
        }
        Ok(())
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
    forward_keyring!(self => self.inner; primary, wrap_under, holds, rewrap, freshness);

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (Some(reuse), Some(plaintext_len)) = (&self.reuse, context.plaintext_len()) else {
            return self.inner.wrap(data_key, context, slots, rng);
        };
        if !context.reuses_data_key() {
            return self.wrap_first(reuse, (data_key, context, plaintext_len), slots, rng);
        }
        let wrapped = lock(&self.state).batches.find(context.core_bytes());
        let wrapped = wrapped.ok_or(KeyringError::NotMine)?;
        // Asked again: much can have happened since the key was handed out.
        if !wrapped.is_current(&self.inner)? {
            lock(&self.state).batches.end(&wrapped);
            return Err(KeyringError::NotMine);
        }
        wrapped.push(slots)?;
        let mut state = lock(&self.state);
        state.stats.reused = state.stats.reused.saturating_add(1);
        let earlier = state.uncounted.as_ref().map_or(0, |(_, bytes)| *bytes);
        state.uncounted = Some((wrapped, earlier.saturating_add(plaintext_len)));
        Ok(())
    }

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
                        state.stats.hits = state.stats.hits.saturating_add(1);
                        return serve(&found, data_key);
                    }
                }
                Boarding::Lost => {}
            }
        }
        self.inner.unwrap(slot, context, data_key)
    }

    fn reuse_data_key(
        &self,
        suite: Suite,
        plaintext_len: u64,
        data_key: &mut DataKey,
    ) -> Result<Option<[u8; 8]>, KeyringError> {
        if self.reuse.is_none() {
            return self.inner.reuse_data_key(suite, plaintext_len, data_key);
        }
        let candidate = self.state_now().1.batches.candidate(suite, plaintext_len);
        let Some(wrapped) = candidate else { return Ok(None) };
        match wrapped.is_current(&self.inner) {
            Ok(true) => Ok(lock(&self.state).batches.take(&wrapped, plaintext_len, data_key)),
            Ok(false) => {
                lock(&self.state).batches.end(&wrapped);
                Ok(None)
            }
            // Nobody can tell: the wrap of a fresh key will say what is wrong.
            Err(_) => Ok(None),
        }
    }
}

impl<K, C> fmt::Debug for CachingKeyring<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = lock(&self.state).stats;
        f.debug_struct("CachingKeyring")
            .field("reuse", &self.reuse)
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}
