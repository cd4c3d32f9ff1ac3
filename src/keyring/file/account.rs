//! Usage of versions: counted in memory, written along with changes; and wraps reserved ahead in
//! the file for versions that may wrap so many data keys and no more.

use super::error::KeyFileError;
use super::shared::Shared;
use super::state::State;
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
pub(super) struct Counted(BTreeMap<MasterKeyId, Entry>);

struct Entry {
    key: Arc<dyn HeldKey>,
    from: Usage,
    to: Usage,
}

impl Counted {
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

impl Shared {
    /// Whether usage is counted in the file.
    fn counts_usage(&self, state: &State) -> bool {
        self.options.count_usage && !self.options.read_only && state.is_writable()
    }

    /// Whether wraps under `key` are reserved in the file before they are made.
    fn reserves(&self, state: &State, key: &dyn HeldKey) -> bool {
        let is_asked = self.options.reserve_usage || key.wrap_limit().is_some();
        is_asked && self.counts_usage(state)
    }

    /// How many data keys this process may have wrapped under `key` before it has to reserve more.
    pub(super) fn allowed(&self, state: &State, key: &dyn HeldKey) -> u64 {
        if self.reserves(state, key) {
            return key.counts().recorded().wraps;
        }
        let room = |limit: u64| limit.saturating_sub(on_record(state, key).wraps);
        key.wrap_limit().map_or(u64::MAX, |limit| room(limit).min(PROCESS_WRAP_LIMIT))
    }

    /// Has a process that was forked begin its own counts: what its parent counted and reserved is
    /// the parent's.
    pub(super) fn begin_own_counts(&self) {
        let process = std::process::id();
        if self.process.load(Acquire) == process {
            return;
        }
        let _books = lock(&self.books);
        if self.process.load(Acquire) != process {
            self.state().keys.all().values().for_each(|key| key.counts().clear());
            self.process.store(process, Release);
        }
    }

    /// Reserves wraps under `key`, or finds that another key wraps by now.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrapLimit`]; [`KeyringError::Unavailable`] if the file cannot be written.
    pub(super) fn reserve(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let state = self.state().clone();
        let outcome = if self.reserves(&state, key) {
            self.check_hope(key).and_then(|()| self.take_block(key))
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
    fn check_hope(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let asked = self.elapsed();
        let Some(limit) = key.wrap_limit() else { return Ok(()) };
        let is_hopeless = |state: &State| !has_reserve(key) && on_record(state, key).wraps >= limit;
        if !is_hopeless(&self.state()) {
            return Ok(());
        }
        self.reload_since(asked).map_err(KeyringError::from)?;
        let state = self.state().clone();
        if is_hopeless(&state) { Err(limit_reached(&state, key, limit)) } else { Ok(()) }
    }

    fn take_block(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let asked = Instant::now();
        let mut taking = lock(&self.taking);
        // Another thread may have taken one meanwhile, or waited for all of us in vain.
        if has_reserve(key) {
            return Ok(());
        }
        if let Some((_, error)) = taking.as_ref().filter(|(failed, _)| *failed >= asked) {
            return Err(KeyringError::from(error.clone()));
        }
        let taken = self.take(key);
        *taking = taken.as_ref().err().map(|error| (Instant::now(), error.clone()));
        match (taken, key.wrap_limit()) {
            (Ok(false), Some(limit)) => Err(limit_reached(&self.state(), key, limit)),
            (taken, _) => taken.map(drop).map_err(KeyringError::from),
        }
    }

    /// Takes a block in the file (FORMAT F-USAGE); `false` if the limit of the version leaves too little.
    fn take(&self, key: &dyn HeldKey) -> Result<bool, KeyFileError> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let found = state.keys.find(key.id()).map(|(_, record)| record);
        let held = state.keys.key(key.id());
        let (Some(record), Some(held)) = (found, held) else { return Ok(true) };
        if record.state != VersionState::Primary {
            return Ok(true);
        }
        let Some(block) = block(key, record.usage.wraps) else { return Ok(false) };
        let mut counted = self.counted(&state, false);
        let Usage { wraps, .. } = key.counts().recorded();
        let bytes = key.counts().used().bytes;
        counted.insert(held, Usage { wraps: wraps.saturating_add(block), bytes });
        self.write_usage(&mut writer, &mut seen, &state, &counted)?;
        Ok(true)
    }

    /// What this process counted and did not write yet; with `gives_back` also what it reserved and
    /// did not use.
    pub(super) fn counted(&self, state: &State, gives_back: bool) -> Counted {
        let mut counted = Counted::default();
        if self.counts_usage(state) && self.process.load(Acquire) == std::process::id() {
            for key in state.keys.all().values() {
                let mut used = key.counts().used();
                if !gives_back && self.reserves(state, &**key) {
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
        let _books = lock(&self.books);
        let state = self.state().clone();
        let mut keysets = state.keys.keysets.clone();
        self.counted(&state, true).add_to(&mut keysets);
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            let key = state.keys.key(record.master_key_id);
            record.is_reserved = key.is_some_and(|key| self.reserves(&state, &**key));
        }
        keysets
    }

    /// Writes what this process counted, if it counted anything, and gives back what it reserved
    /// with `gives_back`.
    pub(super) fn flush(&self, wait: Duration, gives_back: bool) -> Result<(), KeyFileError> {
        if self.counted(&self.state().clone(), gives_back).is_empty() {
            return Ok(());
        }
        let mut writer = self.writer(wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let counted = self.counted(&state, gives_back);
        self.write_usage(&mut writer, &mut seen, &state, &counted)
    }
}

/// What the loaded file has of the version that `key` is of.
fn on_record(state: &State, key: &dyn HeldKey) -> Usage {
    state.keys.find(key.id()).map(|(_, record)| record.usage).unwrap_or_default()
}

/// How many wraps the next one may count for.
fn next_wraps(key: &dyn HeldKey) -> u64 {
    let trials = if key.counts().used().wraps == 0 { key.trials() } else { 0 };
    trials.saturating_add(1)
}

/// Whether the next wrap is reserved.
fn has_reserve(key: &dyn HeldKey) -> bool {
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

fn limit_reached(state: &State, key: &dyn HeldKey, limit: u64) -> KeyringError {
    match state.keys.find(key.id()) {
        Some((keyset, record)) => {
            let (key, version) = (keyset.name().as_str().into(), record.version);
            KeyringError::WrapLimit { key, version, limit }
        }
        // No version that was loaded goes.
        None => KeyringError::NoPrimary,
    }
}
