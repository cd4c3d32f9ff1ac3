//! Following the changes of other processes: polling the file, installing what it holds, and
//! reporting that to the observer.

use super::error::KeyFileError;
use super::open_key_file::OpenKeyFile;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::snapshot::{Snapshot, at};
use super::storage::{Fingerprint, MemoryFile, Store};
use crate::format::KeyVersion;
use crate::keyring::KeyringError;
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::keyset::{Keyset, KeysetMap};
use crate::observe::Event;
use crate::sync::lock;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Release};
use core::time::Duration;
use std::time::{Instant, SystemTime};

/// From this percentage on each change reports how full the file is.
const FILLING: u8 = 80;

/// A fingerprint that stays the same for this long identifies the content, whatever the resolution
/// of the file system's clock.
const SETTLING_TIME: Duration = Duration::from_secs(3);

/// An [`Event`] that owns its data.
pub(super) enum KeyFileEvent {
    Reloaded { change: u64, from_change: u64 },
    Rotated { key: String, from: Option<KeyVersion>, to: KeyVersion, change: u64 },
    ReloadFailed(KeyFileError),
    Filling { percent: u8, change: u64 },
}

/// The fingerprint of the file when it was last loaded.
#[derive(Clone, Copy)]
pub(super) struct LastLoad {
    fingerprint: Fingerprint,
    since: Instant,
    /// Whether every later content of the file has another fingerprint.
    is_settled: bool,
}

impl LastLoad {
    /// `read_at` is when reading began.
    fn of(
        fingerprint: Fingerprint,
        read_at: SystemTime,
        now: Instant,
        before: Option<LastLoad>,
    ) -> Self {
        let same = before.filter(|before| before.fingerprint == fingerprint);
        let since = same.map_or(now, |before| before.since);
        let is_settled =
            now.duration_since(since) >= SETTLING_TIME || fingerprint.is_settled(read_at);
        LastLoad { fingerprint, since, is_settled }
    }

    /// Loads a file of which nothing is known but the anchor of the options.
    pub(super) fn first(
        store: &Store,
        options: &FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<(Snapshot, Self), KeyFileError> {
        let read_at = SystemTime::now();
        let loaded = store.load()?;
        let snapshot =
            Snapshot::open(loaded.bytes(), protection, source).map_err(at(store.path()))?;
        let (found, known) = (snapshot.keys.keysets.change(), options.anchor);
        if found < known {
            let path = store.path().to_path_buf();
            return Err(KeyFileError::RolledBack { path, found, known });
        }
        Ok((snapshot, LastLoad::of(loaded.fingerprint(), read_at, Instant::now(), None)))
    }
}

impl OpenKeyFile {
    /// Polls the file if the last poll is older than the options allow. While another thread polls,
    /// the caller goes on with the current snapshot for as long again, and then waits.
    pub(super) fn refresh_if_due(&self) {
        let asked = self.elapsed();
        let refresh = nanoseconds(self.options.refresh);
        // Saturates: another thread polled after `asked`.
        let since = asked.saturating_sub(self.last_poll.load(Acquire));
        if since < refresh {
            return;
        }
        let mut last_load = match self.last_load.try_lock() {
            Ok(last_load) => last_load,
            // Saturates: a refresh time of centuries is never exceeded.
            Err(_) if since < refresh.saturating_mul(2) => return,
            Err(_) => lock(&self.last_load),
        };
        if self.last_poll.load(Acquire) < asked {
            // A failure stops wraps, and is reported to the observer and by `last_error`.
            drop(self.poll(&mut last_load));
        }
        drop(last_load);
        self.publish();
    }

    /// Nanoseconds since the file was opened.
    pub(super) fn elapsed(&self) -> u64 {
        nanoseconds(self.opened.elapsed())
    }

    /// How long ago the last poll began.
    pub(super) fn since_poll(&self) -> Duration {
        // Saturates: another thread may poll between the two readings.
        Duration::from_nanos(self.elapsed().saturating_sub(self.last_poll.load(Acquire)))
    }

    /// Polls the file, unless that was done since `asked`.
    pub(super) fn reload_since(&self, asked: u64) -> Result<(), KeyFileError> {
        let mut last_load = lock(&self.last_load);
        let outcome = if self.last_poll.load(Acquire) > asked {
            self.last_error().map_or(Ok(()), Err)
        } else {
            self.poll(&mut last_load)
        };
        drop(last_load);
        self.publish();
        outcome
    }

    /// Polls the file now.
    pub(super) fn reload(&self) -> Result<(), KeyFileError> {
        let outcome = self.poll(&mut lock(&self.last_load));
        self.publish();
        outcome
    }

    /// Fails if the last poll failed and another one fails, too.
    pub(super) fn check_loaded(&self) -> Result<(), KeyringError> {
        self.refresh_if_due();
        if self.failed.load(Acquire) {
            self.reload().map_err(KeyringError::from)?;
        }
        Ok(())
    }

    fn poll(&self, last_load: &mut Option<LastLoad>) -> Result<(), KeyFileError> {
        let began = self.elapsed();
        let outcome = self.record_outcome(self.reload_if_changed(last_load));
        self.last_poll.store(began, Release);
        outcome
    }

    /// Loads the file unless its fingerprint is that of the last load.
    fn reload_if_changed(&self, last_load: &mut Option<LastLoad>) -> Result<(), KeyFileError> {
        if let Some(known) = last_load.filter(|known| known.is_settled)
            && self.store.fingerprint()? == known.fingerprint
        {
            return Ok(());
        }
        let (read_at, now) = (SystemTime::now(), Instant::now());
        let loaded = self.store.load()?;
        self.accept_successor(loaded.bytes())?;
        *last_load = Some(LastLoad::of(loaded.fingerprint(), read_at, now, *last_load));
        Ok(())
    }

    /// Installs the content of the file if it descends from the current snapshot.
    pub(super) fn accept_successor(&self, bytes: &[u8]) -> Result<Arc<Snapshot>, KeyFileError> {
        let known = self.snapshot().clone();
        let new = known.decode_successor(bytes, self.path())?;
        if known.keys.keysets == new.keys.keysets {
            return Ok(known);
        }
        let new = Arc::new(new);
        self.install(new.clone());
        let (from_change, change) = (known.keys.keysets.change(), new.keys.keysets.change());
        if from_change < change {
            self.events.push(KeyFileEvent::Reloaded { change, from_change });
        }
        self.record_rotations(&known.keys.keysets, &new.keys.keysets);
        Ok(new)
    }

    /// Replaces the snapshot, unless a later one is installed already.
    pub(super) fn install(&self, new: Arc<Snapshot>) {
        let mut snapshot = self.snapshot.write();
        let (before, change) = (snapshot.keys.keysets.change(), new.keys.keysets.change());
        if before > change {
            return;
        }
        let percent = new.filled();
        *snapshot = new;
        drop(snapshot);
        if before < change && percent >= FILLING {
            self.events.push(KeyFileEvent::Filling { percent, change });
        }
    }

    /// Records whether the file could be loaded, and reports the first failure of a series.
    fn record_outcome(&self, outcome: Result<(), KeyFileError>) -> Result<(), KeyFileError> {
        let mut failure = lock(&self.failure);
        let is_new = failure.is_none();
        *failure = outcome.as_ref().err().cloned();
        drop(failure);
        self.failed.store(outcome.is_err(), Release);
        if let Err(error) = outcome.as_ref()
            && is_new
        {
            self.events.push(KeyFileEvent::ReloadFailed(error.clone()));
        }
        outcome
    }

    /// Loads the content of `store` as if it were opened for the first time: under `protection`,
    /// whatever its history. After an error everything stays as it was. It is another store of the
    /// same file, so that a failed sync of this one is not forgotten then, or of other bytes in memory.
    pub(super) fn reopen(
        &self,
        store: &Store,
        protection: &Protection,
    ) -> Result<(), KeyFileError> {
        let mut last_load = lock(&self.last_load);
        let began = self.elapsed();
        let known = self.snapshot().clone();
        let source = known.keys.source();
        let (new, loaded) = LastLoad::first(store, &self.options, protection, source)?;
        self.store.reset_to(store);
        let (from_change, change) = (known.keys.keysets.change(), new.keys.keysets.change());
        *self.snapshot.write() = Arc::new(new);
        *last_load = Some(loaded);
        self.last_poll.store(began, Release);
        self.outer.add(protection);
        drop(self.record_outcome(Ok(())));
        self.events.push(KeyFileEvent::Reloaded { change, from_change });
        self.record_rotations(&known.keys.keysets, &self.keysets());
        drop(last_load);
        self.publish();
        Ok(())
    }

    /// Loads `bytes`, a later state of the file, and puts them into `file`, while no thread polls.
    pub(super) fn replace(&self, file: &MemoryFile, bytes: &[u8]) -> Result<(), KeyFileError> {
        let mut last_load = lock(&self.last_load);
        self.accept_successor(bytes)?;
        file.put(bytes);
        *last_load = None;
        drop(self.record_outcome(Ok(())));
        drop(last_load);
        self.publish();
        Ok(())
    }

    /// Records an event for each key with a new primary.
    pub(super) fn record_rotations(&self, before: &KeysetMap, after: &KeysetMap) {
        if !self.events.is_observed() {
            return;
        }
        for keyset in after.iter() {
            let key = keyset.name().as_str();
            let from = before.keyset(key).and_then(Keyset::primary);
            if let Some(to) = keyset.primary().filter(|to| Some(*to) != from) {
                let change = after.change();
                self.events.push(KeyFileEvent::Rotated { key: key.into(), from, to, change });
            }
        }
    }

    /// Delivers the recorded events. The caller holds no lock.
    pub(super) fn publish(&self) {
        self.events.publish(|observer, event| {
            observer.event(&match &event {
                KeyFileEvent::Reloaded { change, from_change } => {
                    Event::Reloaded { change: *change, from_change: *from_change }
                }
                KeyFileEvent::Rotated { key, from, to, change } => {
                    Event::Rotated { key, from: *from, to: *to, change: *change }
                }
                KeyFileEvent::ReloadFailed(error) => Event::ReloadFailed { error },
                KeyFileEvent::Filling { percent, change } => {
                    Event::KeyFileFilling { percent: *percent, change: *change }
                }
            });
        });
        self.publish_outer();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
