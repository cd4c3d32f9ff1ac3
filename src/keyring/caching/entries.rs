//! Unwrapped data keys, bounded by count and age, the least recently used evicted first.

use super::clock::is_young;
use crate::crypto::secret::DataKey;
use crate::format::Slot;
use crate::keyring::WrapContext;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// What an entry is found by: the core and every byte of the slot, its label and its wrapped key,
/// in the one form that a header has for them. Nothing of it is secret.
pub(super) type EntryKey = Arc<[u8]>;

/// Builds what the entry of `slot` in this message is found by.
pub(super) fn entry_key(slot: &Slot<'_>, context: &WrapContext<'_>) -> EntryKey {
    let label = &slot.label;
    let name = label.name.as_str().as_bytes();
    let mut key = Vec::with_capacity(slot.encoded_len() + 22);
    key.extend_from_slice(context.core_bytes());
    key.extend_from_slice(&label.version.number().to_be_bytes());
    key.extend_from_slice(&label.master_key_id.0);
    key.push(label.algorithm.id());
    key.push(label.name.len_byte());
    key.extend_from_slice(name);
    key.extend_from_slice(slot.wrapped_key);
    key.into()
}

struct Entry {
    /// Shared with calls under way, and wiped when the last lets it go. It never moves.
    data_key: Arc<DataKey>,
    born: Duration,
    /// Place in the order of use.
    tick: u64,
}

/// The entries.
pub(super) struct Store {
    entries: BTreeMap<EntryKey, Entry>,
    /// Keys of the entries, the least recently used first.
    order: BTreeMap<u64, EntryKey>,
    next_tick: u64,
    capacity: usize,
    max_age: Duration,
    /// No entry expires before.
    next_sweep: Duration,
}

impl Store {
    pub(super) fn new(capacity: usize, max_age: Duration) -> Self {
        let (entries, order) = Default::default();
        let next_sweep = Duration::MAX;
        Store { entries, order, next_tick: 0, capacity, max_age, next_sweep }
    }

    pub(super) fn find(&mut self, key: &EntryKey, now: Duration) -> Option<Arc<DataKey>> {
        let tick = self.tick();
        let max_age = self.max_age;
        // A clock that went back leaves entries that no sweep has seen.
        let entry = self.entries.get_mut(key).filter(|entry| is_young(entry.born, now, max_age));
        let Some(entry) = entry else {
            self.remove(key);
            return None;
        };
        self.order.remove(&entry.tick);
        entry.tick = tick;
        self.order.insert(tick, key.clone());
        Some(entry.data_key.clone())
    }

    /// Adds an entry and returns how many others had to give way.
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
        self.entries.insert(key, Entry { data_key, born: now, tick });
        evicted
    }

    pub(super) fn remove(&mut self, key: &EntryKey) {
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

    /// Drops what is too old, all at once and at most once in the time that one entry lives.
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
        // 2^64 uses do not come to pass.
        // Saturates: never.
        self.next_tick = self.next_tick.saturating_add(1);
        self.next_tick
    }
}
