//! Unwrapped data keys, bounded by count and age, the least recently used evicted first.

use super::clock::is_young;
use crate::crypto::secret::DataKey;
use crate::format::Slot;
use crate::keyring::WrapContext;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The key of an entry: the core of the message and every byte of the slot, label and wrapped key, in
/// the form that a header has for them. Nothing of it is secret.
pub(super) type EntryKey = Arc<[u8]>;

/// Builds the key of the entry for `slot` in this message.
pub(super) fn entry_key(slot: &Slot<'_>, context: &WrapContext<'_>) -> Vec<u8> {
    let label = &slot.label;
    let name = label.name.as_bytes();
    let mut key = Vec::with_capacity(slot.encoded_len() + 22);
    key.extend_from_slice(context.core_bytes());
    key.extend_from_slice(&label.version.number().to_be_bytes());
    key.extend_from_slice(&label.master_key_id.0);
    key.push(label.algorithm.id());
    key.push(label.name.len_byte());
    key.extend_from_slice(name);
    key.extend_from_slice(slot.wrapped_key);
    key
}

struct CachedKey {
    /// Shared with running calls, and wiped when the last owner drops it. It never moves.
    data_key: Arc<DataKey>,
    born: Duration,
    /// Position in the order of use.
    tick: u64,
}

/// The entries, by key and in the order of use.
pub(super) struct CachedKeys {
    entries: BTreeMap<EntryKey, CachedKey>,
    /// Keys of the entries, the least recently used first.
    order: BTreeMap<u64, EntryKey>,
    next_tick: u64,
    capacity: usize,
    max_age: Duration,
    /// No entry expires before.
    next_sweep: Duration,
}

impl CachedKeys {
    pub(super) fn new(capacity: usize, max_age: Duration) -> Self {
        let (entries, order) = Default::default();
        let next_sweep = Duration::MAX;
        CachedKeys { entries, order, next_tick: 0, capacity, max_age, next_sweep }
    }

    pub(super) fn find(&mut self, key: &[u8], now: Duration) -> Option<Arc<DataKey>> {
        let (tick, newest) = (self.tick(), self.order.last_key_value().map(|(tick, _)| *tick));
        let max_age = self.max_age;
        // After a clock went back there are entries that no sweep has seen.
        let entry = self.entries.get_mut(key).filter(|entry| is_young(entry.born, now, max_age));
        let Some(entry) = entry else {
            self.remove(key);
            return None;
        };
        if newest != Some(entry.tick)
            && let Some(key) = self.order.remove(&entry.tick)
        {
            self.order.insert(tick, key);
            entry.tick = tick;
        }
        Some(entry.data_key.clone())
    }

    /// Adds an entry and returns how many others were evicted.
    pub(super) fn insert(&mut self, key: EntryKey, data_key: Arc<DataKey>, now: Duration) -> u64 {
        self.sweep(now);
        self.remove(&key);
        if self.capacity == 0 || self.max_age.is_zero() {
            return 0;
        }
        let mut evicted = 0_u64;
        while self.entries.len() >= self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
            // Saturates: a statistic.
            evicted = evicted.saturating_add(1);
        }
        let tick = self.tick();
        // Saturates: it never expires.
        self.next_sweep = self.next_sweep.min(now.saturating_add(self.max_age));
        self.order.insert(tick, key.clone());
        self.entries.insert(key, CachedKey { data_key, born: now, tick });
        evicted
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.tick);
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.next_sweep = Duration::MAX;
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops all entries that are too old, at most once in the lifetime of one entry.
    pub(super) fn sweep(&mut self, now: Duration) {
        if now < self.next_sweep {
            return;
        }
        let max_age = self.max_age;
        self.entries.retain(|_, entry| is_young(entry.born, now, max_age));
        self.order.retain(|_, key| self.entries.contains_key(key));
        let oldest = self.entries.values().map(|entry| entry.born).min();
        // Saturates: it never expires.
        self.next_sweep = oldest.map_or(Duration::MAX, |born| born.saturating_add(max_age));
    }

    fn tick(&mut self) -> u64 {
        // Saturates: never, after 2^64 uses.
        self.next_tick = self.next_tick.saturating_add(1);
        self.next_tick
    }
}
