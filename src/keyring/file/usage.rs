//! Usage of versions: counted in memory, and written along with changes.

use super::error::KeyFileError;
use super::inner::Inner;
use super::snapshot::Snapshot;
use crate::format::MasterKeyId;
use crate::keyring::wrapping_key::WrappingKey;
use crate::keyset::{Keyset, KeysetMap, Usage};
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Release};
use core::time::Duration;

/// What a commit adds to the recorded usage, or takes from it.
#[derive(Default)]
pub(super) struct PendingUsage(BTreeMap<MasterKeyId, Entry>);

struct Entry {
    key: Arc<dyn WrappingKey>,
    from: Usage,
    to: Usage,
}

impl PendingUsage {
    pub(super) fn insert(&mut self, key: &Arc<dyn WrappingKey>, to: Usage) {
        let from = key.counts().recorded();
        if from != to {
            self.0.insert(key.id(), Entry { key: key.clone(), from, to });
        }
    }

    pub(super) fn add_to(&self, keysets: &mut KeysetMap) {
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            if let Some(Entry { from, to, .. }) = self.0.get(&record.master_key_id) {
                record.usage = record.usage.plus(to.minus(*from)).minus(from.minus(*to));
            }
        }
    }

    /// Marks the usage as recorded, after the commit.
    pub(super) fn mark_recorded(&self) {
        self.0.values().for_each(|Entry { key, to, .. }| key.counts().record(*to));
    }
}

impl Inner {
    /// Whether usage is counted in the file.
    pub(super) fn counts_usage(&self, snapshot: &Snapshot) -> bool {
        self.options.count_usage && !self.options.read_only && snapshot.unknown_critical().is_none()
    }

    /// Resets the counts in a forked process: the parent writes what it counted and reserved.
    pub(super) fn reset_counts_after_fork(&self) {
        let process = std::process::id();
        if self.process.load(Acquire) == process {
            return;
        }
        let _guard = lock(&self.usage_lock);
        if self.process.load(Acquire) != process {
            self.snapshot().keys.all().values().for_each(|key| key.counts().clear());
            self.process.store(process, Release);
        }
    }

    /// What this process counted since the last commit; with `returns_reserve` minus what it
    /// reserved and did not use.
    pub(super) fn pending_usage(&self, snapshot: &Snapshot, returns_reserve: bool) -> PendingUsage {
        let mut pending = PendingUsage::default();
        if self.counts_usage(snapshot) && self.process.load(Acquire) == std::process::id() {
            for key in snapshot.keys.all().values() {
                let mut used = key.counts().used();
                if !returns_reserve && self.reserves(snapshot, &**key) {
                    used.wraps = key.counts().recorded().wraps;
                }
                pending.insert(key, used);
            }
        }
        pending
    }

    /// The current keysets with the pending usage, without unused reservations.
    pub(super) fn keysets_with_usage(&self) -> KeysetMap {
        // No commit happens between the two readings.
        let _guard = lock(&self.usage_lock);
        let snapshot = self.snapshot().clone();
        let mut keysets = snapshot.keys.keysets.clone();
        self.pending_usage(&snapshot, true).add_to(&mut keysets);
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            let key = snapshot.keys.key(record.master_key_id);
            record.is_reserved = key.is_some_and(|key| self.reserves(&snapshot, &**key));
        }
        keysets
    }

    /// Writes the pending usage, if there is any.
    pub(super) fn flush(&self, wait: Duration, returns_reserve: bool) -> Result<(), KeyFileError> {
        if self.pending_usage(&self.snapshot().clone(), returns_reserve).0.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer(wait)?;
        let mut last_load = lock(&self.last_load);
        let snapshot = self.latest(&mut writer)?;
        let pending = self.pending_usage(&snapshot, returns_reserve);
        self.commit_usage(&mut writer, &mut last_load, &snapshot, &pending)
    }
}
