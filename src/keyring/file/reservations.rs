//! Usage of versions: counted in memory, written along with changes; and wraps reserved ahead in
//! the file for versions that may wrap so many data keys and no more.

use super::error::KeyFileError;
use super::inner::Inner;
use super::snapshot::Snapshot;
use crate::format::MasterKeyId;
use crate::keyring::KeyringError;
use crate::keyring::held::{HeldKey, PROCESS_WRAP_LIMIT};
use crate::keyset::{Keyset, Keysets, Usage, VersionState};
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Release};
use core::time::Duration;
use std::time::Instant;

/// The first block of wraps that is reserved. Each further one is as large as all before it, so that
/// short-lived processes reserve little too much and long-lived ones write seldom.
const FIRST_BLOCK: u64 = 1 << 4;

/// The largest block.
const LARGEST_BLOCK: u64 = 1 << 20;

/// What a write of the file adds to the usage on record, or takes from it.
#[derive(Default)]
pub(super) struct PendingUsage(BTreeMap<MasterKeyId, Entry>);

struct Entry {
    key: Arc<dyn HeldKey>,
    from: Usage,
    to: Usage,
}

impl PendingUsage {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, key: &Arc<dyn HeldKey>, to: Usage) {
        let from = key.counts().recorded();
        if from != to {
            self.0.insert(key.id(), Entry { key: key.clone(), from, to });
        }
    }

    pub(super) fn add_to(&self, keysets: &mut Keysets) {
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            if let Some(Entry { from, to, .. }) = self.0.get(&record.master_key_id) {
                record.usage = record.usage.plus(to.minus(*from)).minus(from.minus(*to));
            }
        }
    }

    /// Notes that it is written.
    pub(super) fn record(&self) {
        self.0.values().for_each(|Entry { key, to, .. }| key.counts().record(*to));
    }
}

impl Inner {
    /// Whether usage is counted in the file.
    fn counts_usage(&self, state: &Snapshot) -> bool {
        self.options.count_usage && !self.options.read_only && state.is_writable()
    }

    /// Whether wraps under `key` are reserved in the file before they are made.
    fn reserves(&self, state: &Snapshot, key: &dyn HeldKey) -> bool {
        let is_asked = self.options.reserve_usage || key.wrap_limit().is_some();
        is_asked && self.counts_usage(state)
    }

    /// How many data keys this process may have wrapped under `key` before it has to reserve more.
    pub(super) fn allowed(&self, state: &Snapshot, key: &dyn HeldKey) -> u64 {
        if self.reserves(state, key) {
            return key.counts().recorded().wraps;
        }
        let room = |limit: u64| limit.saturating_sub(on_record(state, key).wraps);
        key.wrap_limit().map_or(u64::MAX, |limit| room(limit).min(PROCESS_WRAP_LIMIT))
    }

    /// Has a process that was forked begin its own counts: what its parent counted and reserved is
    /// the parent's.
    pub(super) fn reset_counts_after_fork(&self) {
        let process = std::process::id();
        if self.process.load(Acquire) == process {
            return;
        }
        let _books = lock(&self.usage_lock);
        if self.process.load(Acquire) != process {
            self.snapshot().keys.all().values().for_each(|key| key.counts().clear());
            self.process.store(process, Release);
        }
    }

    /// Reserves wraps under `key`, or finds that another key wraps by now.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrapLimit`]; [`KeyringError::Unavailable`] if the file cannot be written.
    pub(super) fn reserve(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let state = self.snapshot().clone();
        let outcome = if self.reserves(&state, key) {
            self.check_not_exhausted(key).and_then(|()| self.reserve_block(key))
        } else {
            let room = self.allowed(&state, key);
            let limit = key.wrap_limit().unwrap_or(room);
            let limit = if room == PROCESS_WRAP_LIMIT { PROCESS_WRAP_LIMIT } else { limit };
            Err(limit_reached(&state, key, limit))
        };
        self.publish();
        outcome
    }

    /// Refuses at the limit without waiting for the lock, which whoever rotates needs; after a look
    /// at the file, since another process may have rotated, or given back what it did not use.
    fn check_not_exhausted(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let asked = self.elapsed();
        let Some(limit) = key.wrap_limit() else { return Ok(()) };
        let is_exhausted =
            |state: &Snapshot| !has_reservation(key) && on_record(state, key).wraps >= limit;
        if !is_exhausted(&self.snapshot()) {
            return Ok(());
        }
        self.reload_since(asked).map_err(KeyringError::from)?;
        let state = self.snapshot().clone();
        if is_exhausted(&state) { Err(limit_reached(&state, key, limit)) } else { Ok(()) }
    }

    fn reserve_block(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let asked = Instant::now();
        let mut last_reservation = lock(&self.last_reservation);
        // Another thread may have taken one meanwhile, or waited for all of us in vain.
        if has_reservation(key) {
            return Ok(());
        }
        if let Some((_, error)) = last_reservation.as_ref().filter(|(failed, _)| *failed >= asked) {
            return Err(KeyringError::from(error.clone()));
        }
        let taken = self.commit_block(key);
        *last_reservation = taken.as_ref().err().map(|error| (Instant::now(), error.clone()));
        match (taken, key.wrap_limit()) {
            (Ok(false), Some(limit)) => Err(limit_reached(&self.snapshot(), key, limit)),
            (taken, _) => taken.map(drop).map_err(KeyringError::from),
        }
    }

    /// Takes a block in the file (FORMAT F-USAGE); `false` if the limit of the version leaves too little.
    fn commit_block(&self, key: &dyn HeldKey) -> Result<bool, KeyFileError> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut last_load = lock(&self.last_load);
        let state = self.latest(&mut writer)?;
        let found = state.keys.find(key.id()).map(|(_, record)| record);
        let held = state.keys.key(key.id());
        let (Some(record), Some(held)) = (found, held) else { return Ok(true) };
        if record.state != VersionState::Primary {
            return Ok(true);
        }
        let Some(block) = block(key, record.usage.wraps) else { return Ok(false) };
        let mut counted = self.pending_usage(&state, false);
        let Usage { wraps, .. } = key.counts().recorded();
        let bytes = key.counts().used().bytes;
        counted.insert(held, Usage { wraps: wraps.saturating_add(block), bytes });
        self.commit_usage(&mut writer, &mut last_load, &state, &counted)?;
        Ok(true)
    }

    /// What this process counted and did not write yet; with `returns_reserve` also what it reserved and
    /// did not use.
    pub(super) fn pending_usage(&self, state: &Snapshot, returns_reserve: bool) -> PendingUsage {
        let mut counted = PendingUsage::default();
        if self.counts_usage(state) && self.process.load(Acquire) == std::process::id() {
            for key in state.keys.all().values() {
                let mut used = key.counts().used();
                if !returns_reserve && self.reserves(state, &**key) {
                    used.wraps = key.counts().recorded().wraps;
                }
                counted.insert(key, used);
            }
        }
        counted
    }

    /// The keysets that are loaded, with what this process counted and did not write yet, and
    /// without what it reserved and did not use.
    pub(super) fn keysets_with_usage(&self) -> Keysets {
        // So that nothing is written meanwhile.
        let _books = lock(&self.usage_lock);
        let state = self.snapshot().clone();
        let mut keysets = state.keys.keysets.clone();
        self.pending_usage(&state, true).add_to(&mut keysets);
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            let key = state.keys.key(record.master_key_id);
            record.is_reserved = key.is_some_and(|key| self.reserves(&state, &**key));
        }
        keysets
    }

    /// Writes what this process counted, if it counted anything, and gives back what it reserved
    /// with `returns_reserve`.
    pub(super) fn flush(&self, wait: Duration, returns_reserve: bool) -> Result<(), KeyFileError> {
        if self.pending_usage(&self.snapshot().clone(), returns_reserve).is_empty() {
            return Ok(());
        }
        let mut writer = self.writer(wait)?;
        let mut last_load = lock(&self.last_load);
        let state = self.latest(&mut writer)?;
        let counted = self.pending_usage(&state, returns_reserve);
        self.commit_usage(&mut writer, &mut last_load, &state, &counted)
    }
}

/// What the loaded file has of the version that `key` is of.
fn on_record(state: &Snapshot, key: &dyn HeldKey) -> Usage {
    state.keys.find(key.id()).map(|(_, record)| record.usage).unwrap_or_default()
}

/// How many wraps the next one may count for.
fn next_wraps(key: &dyn HeldKey) -> u64 {
    let trials = if key.counts().used().wraps == 0 { key.trials() } else { 0 };
    trials.saturating_add(1)
}

/// Whether the next wrap is reserved.
fn has_reservation(key: &dyn HeldKey) -> bool {
    let (used, recorded) = (key.counts().used(), key.counts().recorded());
    recorded.minus(used).wraps >= next_wraps(key)
}

/// The block to be taken for a version of which `on_record` wraps are on record: smaller where the
/// limit is near, and `None` if that leaves less than is needed.
fn block(key: &dyn HeldKey, on_record: u64) -> Option<u64> {
    let room = key.wrap_limit().map_or(u64::MAX, |limit| limit.saturating_sub(on_record));
    let recorded = key.counts().recorded().wraps;
    let needed = next_wraps(key);
    let block = recorded.clamp(FIRST_BLOCK, LARGEST_BLOCK).max(needed).min(room);
    (block >= needed).then_some(block)
}

fn limit_reached(state: &Snapshot, key: &dyn HeldKey, limit: u64) -> KeyringError {
    match state.keys.find(key.id()) {
        Some((keyset, record)) => {
            let (key, version) = (keyset.name().as_str().into(), record.version);
            KeyringError::WrapLimit { key, version, limit }
        }
        // No version that was loaded goes.
        None => KeyringError::NoPrimary,
    }
}
