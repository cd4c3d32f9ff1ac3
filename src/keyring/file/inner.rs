//! What all handles of one key file share: the state that is loaded, and how it is kept fresh.

use super::error::KeyFileError;
use super::events::Notice;
use super::history::check_successor;
use super::options::FileKeyringOptions;
use super::outer_keyrings::OuterKeyrings;
use super::protection::Protection;
use super::snapshot::{Snapshot, at};
use super::storage::{Fingerprint, Store};
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::KeyringError;
use crate::keyring::held::KeySource;
use crate::keyring::master_keys::MasterKeys;
use crate::keyset::{Change, Keysets, Material, Terms};
use crate::sync::{AtomicU64, RwLock, RwLockReadGuard, lock};
use crate::time::Timestamp;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};
use zeroize::Zeroizing;

/// One key file, open.
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) options: FileKeyringOptions,
    pub(super) snapshot: RwLock<Arc<Snapshot>>,
    /// What the file was when it was last loaded; held while one thread looks.
    /// `None` after a write: the next look reads the file.
    pub(super) last_load: Mutex<Option<LastLoad>>,
    /// Nanoseconds from `started` to the last look.
    pub(super) polled: AtomicU64,
    started: Instant,
    /// Whether the last look failed, and why.
    failed: AtomicBool,
    failure: Mutex<Option<KeyFileError>>,
    /// Held while what is counted is compared with what is written.
    pub(super) usage_lock: Mutex<()>,
    /// One thread takes a block; when it last could not, and why.
    pub(super) last_reservation: Mutex<Option<(Instant, KeyFileError)>>,
    /// The outer keyrings of the file key.
    pub(super) outer: OuterKeyrings,
    /// The process whose counts these are.
    pub(super) process: AtomicU32,
    /// What the observer is told once no lock is held.
    pub(super) news: Mutex<Vec<Notice>>,
}

/// How full a file is whose changes are told, in per cent.
const FILLING: u8 = 80;

/// For how long a file with one fingerprint has to be there until the fingerprint is trusted, whatever the
/// clock of its file system says.
const LONG_SEEN: Duration = Duration::from_secs(3);

/// What a file is known again by.
#[derive(Clone, Copy)]
pub(super) struct LastLoad {
    fingerprint: Fingerprint,
    /// Since when.
    since: Instant,
    /// Whether every later state of the file has another fingerprint.
    is_settled: bool,
}

impl LastLoad {
    /// What was loaded; reading began at `read_at`, and `now` by the clock of this process.
    fn of(
        fingerprint: Fingerprint,
        read_at: SystemTime,
        now: Instant,
        before: Option<LastLoad>,
    ) -> Self {
        let same = before.filter(|before| before.fingerprint == fingerprint);
        let since = same.map_or(now, |before| before.since);
        let is_long = now.saturating_duration_since(since) >= LONG_SEEN;
        LastLoad { fingerprint, since, is_settled: is_long || fingerprint.is_settled(read_at) }
    }
}

/// The keysets of the state that is loaded.
pub(super) struct LoadedKeysets(Arc<Snapshot>);

impl Deref for LoadedKeysets {
    type Target = Keysets;

    fn deref(&self) -> &Keysets {
        &self.0.keys.keysets
    }
}

impl Inner {
    pub(super) fn create(
        store: Store,
        options: FileKeyringOptions,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeySource>,
    ) -> Result<Self, Error> {
        let now = Timestamp::now();
        if options.read_only {
            return Err(KeyFileError::ReadOnly { path: store.path().to_path_buf() }.into());
        }
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        let change = Change::CreateKey { key, version, material };
        let none = MasterKeys::new(source);
        let (mut keys, _, new) = none.with_changes(&[change], &Terms::at(now), &mut OsRandom)?;
        if options.anchor > keys.keysets.change() {
            keys.keysets.set_revision(options.anchor);
        }
        let created = Snapshot::create(keys, &new, protection, &mut OsRandom);
        let created = created.map_err(at(store.path()));
        let created = created.and_then(|state| Inner::create_of(store, options, state, protection));
        Ok(created.inspect_err(|error| none.discard_after(&new, error))?)
    }

    /// Writes `state` to a new file.
    pub(super) fn create_of(
        store: Store,
        options: FileKeyringOptions,
        mut state: Snapshot,
        protection: &Protection,
    ) -> Result<Self, KeyFileError> {
        let bytes = Zeroizing::new(state.encode(None).map_err(at(store.path()))?);
        store.lock(options.lock_wait)?.create(&bytes)?;
        Ok(Inner::new(store, options, state, None).with_outer_keyring(protection))
    }

    pub(super) fn open(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeySource>,
    ) -> Result<Self, Error> {
        // What comes after the file was read, a secret that takes time, ages what was read.
        let started = Instant::now();
        let (state, last_load) = Inner::load_first(&store, &options, protection, source)?;
        let mut inner =
            Inner::new(store, options, state, Some(last_load)).with_outer_keyring(protection);
        inner.started = started;
        inner.publish_outer();
        Ok(inner)
    }

    /// The state of a file of which nothing is known but what the options demand.
    pub(super) fn load_first(
        store: &Store,
        options: &FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeySource>,
    ) -> Result<(Snapshot, LastLoad), KeyFileError> {
        let read_at = SystemTime::now();
        let loaded = store.load()?;
        let state = Snapshot::open(loaded.bytes(), protection, source).map_err(at(store.path()))?;
        let (found, known) = (state.keys.keysets.change(), options.anchor);
        if found < known {
            let path = store.path().to_path_buf();
            return Err(KeyFileError::RolledBack { path, found, known });
        }
        Ok((state, LastLoad::of(loaded.fingerprint(), read_at, Instant::now(), None)))
    }

    /// Keeps the outer keyring of `protection`, to tell what becomes of it.
    fn with_outer_keyring(self, protection: &Protection) -> Self {
        self.outer.remember(protection);
        self
    }

    fn new(
        store: Store,
        options: FileKeyringOptions,
        state: Snapshot,
        last_load: Option<LastLoad>,
    ) -> Self {
        Inner {
            store,
            options,
            snapshot: RwLock::new(Arc::new(state)),
            last_load: Mutex::new(last_load),
            polled: AtomicU64::default(),
            started: Instant::now(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            usage_lock: Mutex::new(()),
            last_reservation: Mutex::new(None),
            outer: OuterKeyrings::default(),
            process: AtomicU32::new(std::process::id()),
            news: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.store.path()
    }

    /// The state that is loaded, which stays so while it is held.
    pub(super) fn snapshot(&self) -> RwLockReadGuard<'_, Arc<Snapshot>> {
        self.snapshot.read()
    }

    pub(super) fn keysets(&self) -> LoadedKeysets {
        LoadedKeysets(self.snapshot().clone())
    }

    pub(super) fn last_error(&self) -> Option<KeyFileError> {
        lock(&self.failure).clone()
    }

    /// Looks at the file if that was last done longer ago than the options allow. Another thread
    /// that looks at this moment is waited for once it takes longer than that.
    pub(super) fn refresh_if_due(&self) {
        let asked = self.elapsed();
        let refresh = nanoseconds(self.options.refresh);
        let since = asked.saturating_sub(self.polled.load(Ordering::Acquire));
        if since < refresh {
            return;
        }
        let mut last_load = match self.last_load.try_lock() {
            Ok(last_load) => last_load,
            Err(_) if since < refresh.saturating_mul(2) => return,
            // Nobody has looked for too long: that one is waited for.
            Err(_) => lock(&self.last_load),
        };
        if self.polled.load(Ordering::Acquire) < asked {
            // What is wrong stops wraps, is told to the observer, and can be asked for.
            drop(self.poll(&mut last_load));
        }
        drop(last_load);
        self.publish();
    }

    /// Nanoseconds since the file was opened.
    pub(super) fn elapsed(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }

    /// How long ago the last look began.
    pub(super) fn since_poll(&self) -> Duration {
        let polled = self.polled.load(Ordering::Acquire);
        Duration::from_nanos(self.elapsed().saturating_sub(polled))
    }

    /// Looks at the file, unless that was done since `asked`.
    pub(super) fn reload_since(&self, asked: u64) -> Result<(), KeyFileError> {
        let mut last_load = lock(&self.last_load);
        let outcome = if self.polled.load(Ordering::Acquire) > asked {
            self.last_error().map_or(Ok(()), Err)
        } else {
            self.poll(&mut last_load)
        };
        drop(last_load);
        self.publish();
        outcome
    }

    /// Looks at the file now.
    pub(super) fn reload(&self) -> Result<(), KeyFileError> {
        let outcome = self.poll(&mut lock(&self.last_load));
        self.publish();
        outcome
    }

    /// Refuses if the file could not be read when it was last looked at, after another look.
    pub(super) fn ready_to_wrap(&self) -> Result<(), KeyringError> {
        self.refresh_if_due();
        if self.failed.load(Ordering::Acquire) {
            self.reload().map_err(KeyringError::from)?;
        }
        Ok(())
    }

    fn poll(&self, last_load: &mut Option<LastLoad>) -> Result<(), KeyFileError> {
        let began = self.elapsed();
        let outcome = self.record_outcome(self.reload_if_changed(last_load));
        self.polled.store(began, Ordering::Release);
        outcome
    }

    /// Loads the file if it is not the one that was seen.
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

    /// Makes what a file holds the state, if it goes on from the state there is.
    pub(super) fn accept_successor(&self, bytes: &[u8]) -> Result<Arc<Snapshot>, KeyFileError> {
        let known = self.snapshot().clone();
        let new = known.decode_successor(bytes).map_err(at(self.path()))?;
        check_successor(&known.keys.keysets, &new.keys.keysets, self.path())?;
        self.check_protections(&known, &new)?;
        if known.keys.keysets == new.keys.keysets {
            return Ok(known);
        }
        let new = Arc::new(new);
        self.install(new.clone());
        let (from_change, change) = (known.keys.keysets.change(), new.keys.keysets.change());
        if from_change < change {
            self.report(Notice::Reloaded { change, from_change });
        }
        self.report_rotations(&known.keys.keysets, &new.keys.keysets);
        Ok(new)
    }

    /// Refuses other protections at the same change.
    fn check_protections(&self, known: &Snapshot, new: &Snapshot) -> Result<(), KeyFileError> {
        let is_same_change = known.keys.keysets.change() == new.keys.keysets.change();
        if !is_same_change || known.protections() == new.protections() {
            return Ok(());
        }
        let all = known.protections();
        let other = all.iter().find(|protection| !new.protections().contains(protection));
        let key = other.map_or_else(String::new, |protection| protection.id.to_string());
        let path = self.path().to_path_buf();
        Err(KeyFileError::Diverged { path, key, version: KeyVersion::FIRST })
    }

    /// Swaps the state, unless a later one came first.
    pub(super) fn install(&self, new: Arc<Snapshot>) {
        let mut state = self.snapshot.write();
        let (before, change) = (state.keys.keysets.change(), new.keys.keysets.change());
        if before > change {
            return;
        }
        let percent = new.filled();
        *state = new;
        drop(state);
        if before < change && percent >= FILLING {
            self.report(Notice::Filling { percent, change });
        }
    }

    /// Remembers whether the file was in order, and tells when that changed.
    pub(super) fn record_outcome(
        &self,
        outcome: Result<(), KeyFileError>,
    ) -> Result<(), KeyFileError> {
        let mut failure = lock(&self.failure);
        let is_new = failure.is_none();
        *failure = outcome.as_ref().err().cloned();
        drop(failure);
        self.failed.store(outcome.is_err(), Ordering::Release);
        if let Err(error) = outcome.as_ref()
            && is_new
        {
            self.report(Notice::Failed(error.clone()));
        }
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Tries the lock once. What cannot be written is not counted.
        drop(self.flush(Duration::ZERO, true));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
