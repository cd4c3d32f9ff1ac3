//! Usage of versions: counted in memory and written along with changes, or reserved in the file
//! before the wraps are made (FORMAT F-USAGE).

use super::error::KeyFileError;
use super::open_key_file::OpenKeyFile;
use super::snapshot::Snapshot;
use crate::format::MasterKeyId;
use crate::keyring::KeyringError;
use crate::keyring::wrapping_key::{PROCESS_WRAP_LIMIT, WrappingKey};
use crate::keyset::{Keyset, KeysetMap, Usage, VersionRecord, VersionState};
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Release};
use core::time::Duration;
use std::time::Instant;

/// The first block. Each further block is as large as all before it, so that short-lived processes
/// reserve little and long-lived ones write seldom.
const FIRST_BLOCK: u64 = 1 << 4;

/// The largest block.
const LARGEST_BLOCK: u64 = 1 << 20;

/// The usage that a commit adds to the record, or takes from it.
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

impl OpenKeyFile {
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

    /// Whether wraps under `key` are reserved in the file.
    pub(super) fn reserves(&self, snapshot: &Snapshot, key: &dyn WrappingKey) -> bool {
        let is_asked = self.options.reserve_usage || key.wrap_limit().is_some();
        is_asked && self.counts_usage(snapshot)
    }

    /// The number of wraps under `key` that this process may count before it reserves more.
    pub(super) fn allowed(&self, snapshot: &Snapshot, key: &dyn WrappingKey) -> u64 {
        if self.reserves(snapshot, key) {
            return key.counts().recorded().wraps;
        }
        let recorded = recorded(snapshot, key).wraps;
        // Saturates: nothing is left of a limit that is exceeded.
        let room = |limit: u64| limit.saturating_sub(recorded);
        key.wrap_limit().map_or(u64::MAX, |limit| room(limit).min(PROCESS_WRAP_LIMIT))
    }

    /// Reserves wraps under `key`. Succeeds without a reservation if another version is the primary
    /// by now.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrapLimit`]; the error of a file that cannot be written.
    pub(super) fn reserve(&self, key: &dyn WrappingKey) -> Result<(), KeyringError> {
        let snapshot = self.snapshot().clone();
        let outcome = if self.reserves(&snapshot, key) {
            self.check_not_exhausted(key).and_then(|()| self.reserve_block(key))
        } else {
            let room = self.allowed(&snapshot, key);
            let limit = key.wrap_limit().unwrap_or(room);
            let limit = if room == PROCESS_WRAP_LIMIT { PROCESS_WRAP_LIMIT } else { limit };
            Err(limit_reached(&snapshot, key, limit))
        };
        self.publish();
        outcome
    }

    /// Refuses at the limit without waiting for the lock, which a rotation needs. Polls the file
    /// first: another process may have rotated, or returned what it did not use.
    fn check_not_exhausted(&self, key: &dyn WrappingKey) -> Result<(), KeyringError> {
        let asked = self.elapsed();
        let Some(limit) = key.wrap_limit() else { return Ok(()) };
        let is_exhausted =
            |snapshot: &Snapshot| !has_reservation(key) && recorded(snapshot, key).wraps >= limit;
        if !is_exhausted(&self.snapshot()) {
            return Ok(());
        }
        self.reload_since(asked).map_err(KeyringError::from)?;
        let snapshot = self.snapshot().clone();
        if is_exhausted(&snapshot) { Err(limit_reached(&snapshot, key, limit)) } else { Ok(()) }
    }

    fn reserve_block(&self, key: &dyn WrappingKey) -> Result<(), KeyringError> {
        let asked = Instant::now();
        let mut last_failure = lock(&self.reserving);
        // While this thread waited, another one reserved a block, or failed on behalf of all.
        if has_reservation(key) {
            return Ok(());
        }
        if let Some((_, error)) = last_failure.as_ref().filter(|(failed, _)| *failed >= asked) {
            return Err(KeyringError::from(error.clone()));
        }
        let reserved = self.commit_block(key);
        *last_failure = reserved.as_ref().err().map(|error| (Instant::now(), error.clone()));
        match (reserved, key.wrap_limit()) {
            (Ok(false), Some(limit)) => Err(limit_reached(&self.snapshot(), key, limit)),
            (reserved, _) => reserved.map(drop).map_err(KeyringError::from),
        }
    }

    /// Writes a reservation; `false` if the limit of the version leaves too little.
    fn commit_block(&self, key: &dyn WrappingKey) -> Result<bool, KeyFileError> {
        // In this order: waiting for another process holds up no thread that polls.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut last_load = lock(&self.last_load);
        let snapshot = self.latest(&mut writer)?;
        let Some((_, record)) = find(&snapshot, key.id()) else { return Ok(true) };
        let Some(shared) = snapshot.keys.key(key.id()) else { return Ok(true) };
        if record.state != VersionState::Primary {
            return Ok(true);
        }
        let Some(block) = block(key, record.usage.wraps) else { return Ok(false) };
        let mut pending = self.pending_usage(&snapshot, false);
        let bytes = key.counts().used().bytes;
        // Saturates: a count at its end stays there.
        let wraps = key.counts().recorded().wraps.saturating_add(block);
        pending.insert(shared, Usage { wraps, bytes });
        self.commit_usage(&mut writer, &mut last_load, &snapshot, &pending)?;
        Ok(true)
    }
}

/// The version of an id, with its keyset.
fn find(snapshot: &Snapshot, id: MasterKeyId) -> Option<(&Keyset, &VersionRecord)> {
    let of_id = |record: &&VersionRecord| record.master_key_id == id;
    snapshot.keys.keysets.iter().find_map(|it| Some((it, it.versions().iter().find(of_id)?)))
}

/// The recorded usage of the version that `key` is of.
fn recorded(snapshot: &Snapshot, key: &dyn WrappingKey) -> Usage {
    // Nothing: a version without a record has no usage.
    find(snapshot, key.id()).map(|(_, record)| record.usage).unwrap_or_default()
}

/// How many wraps the next one may count for.
fn next_wraps(key: &dyn WrappingKey) -> u64 {
    let trials = if key.counts().used().wraps == 0 { key.trials() } else { 0 };
    // Saturates: trials are few.
    trials.saturating_add(1)
}

/// Whether the next wrap is reserved.
fn has_reservation(key: &dyn WrappingKey) -> bool {
    let (used, recorded) = (key.counts().used(), key.counts().recorded());
    recorded.minus(used).wraps >= next_wraps(key)
}

/// The next block for a version with `recorded` wraps: smaller near the limit, and `None` if the
/// limit leaves less than is needed.
fn block(key: &dyn WrappingKey, recorded: u64) -> Option<u64> {
    // Saturates: nothing is left of a limit that is exceeded.
    let room = key.wrap_limit().map_or(u64::MAX, |limit| limit.saturating_sub(recorded));
    let own = key.counts().recorded().wraps;
    let needed = next_wraps(key);
    let block = own.clamp(FIRST_BLOCK, LARGEST_BLOCK).max(needed).min(room);
    (block >= needed).then_some(block)
}

fn limit_reached(snapshot: &Snapshot, key: &dyn WrappingKey, limit: u64) -> KeyringError {
    match find(snapshot, key.id()) {
        Some((keyset, record)) => {
            let (key, version) = (keyset.name().as_str().into(), record.version);
            KeyringError::WrapLimit { key, version, limit }
        }
        // A loaded version keeps its record.
        None => KeyringError::NoPrimary,
    }
}
