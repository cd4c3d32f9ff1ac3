//! What all handles of one key file share: the state that is loaded, and how it is kept fresh.

use super::error::KeyFileError;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::stamp::Stamp;
use super::state::State;
use super::store::Store;
use super::successor::check_successor;
use super::usage::Allowances;
use super::writer::Writer;
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::KeyringError;
use crate::keyring::software::SoftwareKey;
use crate::keyring::software_keys::SoftwareKeys;
use crate::keyset::{Change, Changed, Keyset, Keysets, Material, Terms};
use crate::observe::Event;
use crate::random::{KeyringRng, RandomPool};
use crate::time::Timestamp;
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Instant, SystemTime};

/// How long the last handle waits for another writer when it gives back what it did not use.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// One key file, open.
pub(super) struct Shared {
    store: Store,
    options: FileKeyringOptions,
    state: RwLock<Arc<State>>,
    /// What the file was when it was last loaded; held while one thread looks.
    seen: Mutex<Seen>,
    /// Nanoseconds from `started` to the last look.
    looked: AtomicU64,
    started: Instant,
    /// Whether the last look failed, and why.
    failed: AtomicBool,
    failure: Mutex<Option<KeyFileError>>,
    allowances: Allowances,
    /// One thread takes a block.
    taking: Mutex<()>,
}

/// What a file is known again by.
struct Seen {
    stamp: Stamp,
    /// Whether every later state of the file has another stamp.
    settled: bool,
}

/// The keysets of the state that is loaded.
pub(super) struct LoadedKeysets(Arc<State>);

impl Deref for LoadedKeysets {
    type Target = Keysets;

    fn deref(&self) -> &Keysets {
        &self.0.keys.keysets
    }
}

impl Shared {
    pub(super) fn create(
        store: Store,
        options: FileKeyringOptions,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        let mut os = OsRandom;
        let mut rng = RandomPool::for_rewrap(&mut os);
        let now = Timestamp::now();
        if options.read_only {
            return Err(KeyFileError::ReadOnly { path: store.path().to_path_buf() }.into());
        }
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        let change = Change::CreateKey { key, version, material };
        let none = SoftwareKeys::default();
        let (keys, _, new) = none.with_changes(&[change], &Terms::at(now), &mut rng)?;
        let state = State::create(keys, &new, protection, now, &mut rng, store.path())?;
        let bytes = state.encode(store.path())?;
        let stamp = {
            let mut writer = store.lock(options.lock_wait)?;
            writer.create(&bytes)?;
            store.stamp()?
        };
        Ok(Shared::new(store, options, state, Seen { stamp, settled: false }))
    }

    pub(super) fn open(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
    ) -> Result<Self, Error> {
        let read_at = SystemTime::now();
        let loaded = store.load()?;
        let state = State::open(loaded.bytes(), protection, store.path())?;
        let (found, known) = (state.keys.keysets.revision(), options.anchor);
        if found < known {
            let path = store.path().to_path_buf();
            return Err(KeyFileError::RolledBack { path, found, known }.into());
        }
        let stamp = loaded.stamp();
        let seen = Seen { stamp, settled: stamp.is_settled(read_at) };
        Ok(Shared::new(store, options, state, seen))
    }

    fn new(store: Store, options: FileKeyringOptions, state: State, seen: Seen) -> Self {
        Shared {
            store,
            options,
            state: RwLock::new(Arc::new(state)),
            seen: Mutex::new(seen),
            looked: AtomicU64::new(0),
            started: Instant::now(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            allowances: Allowances::default(),
            taking: Mutex::new(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.store.path()
    }

    /// The state that is loaded, which stays so while it is held.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, Arc<State>> {
        // No writer of it can panic half-way: it is swapped as a whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keysets(&self) -> LoadedKeysets {
        LoadedKeysets(self.state().clone())
    }

    pub(super) fn last_error(&self) -> Option<KeyFileError> {
        lock(&self.failure).clone()
    }

    /// Looks at the file if that was last done longer ago than the options allow. Another thread
    /// that looks at this moment is not waited for.
    pub(super) fn refresh_if_due(&self) {
        let now = nanoseconds(self.started.elapsed());
        let since = now.saturating_sub(self.looked.load(Ordering::Relaxed));
        if since < nanoseconds(self.options.refresh) {
            return;
        }
        if let Ok(mut seen) = self.seen.try_lock() {
            // What is wrong stops wraps, is told to the observer, and can be asked for.
            drop(self.look(&mut seen));
        }
    }

    /// Looks at the file now.
    pub(super) fn reload(&self) -> Result<(), KeyFileError> {
        self.look(&mut lock(&self.seen))
    }

    /// Refuses if the file could not be read when it was last looked at, after another look.
    pub(super) fn ready_to_wrap(&self) -> Result<(), KeyringError> {
        self.refresh_if_due();
        if self.failed.load(Ordering::Acquire) {
            self.reload().map_err(KeyringError::unavailable)?;
        }
        Ok(())
    }

    fn look(&self, seen: &mut Seen) -> Result<(), KeyFileError> {
        let now = nanoseconds(self.started.elapsed());
        let outcome = self.follow(seen);
        self.looked.store(now, Ordering::Relaxed);
        self.note(outcome)
    }

    /// Loads the file if it is not the one that was seen.
    fn follow(&self, seen: &mut Seen) -> Result<(), KeyFileError> {
        if seen.settled && self.store.stamp()? == seen.stamp {
            return Ok(());
        }
        let read_at = SystemTime::now();
        let loaded = self.store.load()?;
        self.adopt(loaded.bytes())?;
        let stamp = loaded.stamp();
        *seen = Seen { stamp, settled: stamp.is_settled(read_at) };
        Ok(())
    }

    /// Makes what a file holds the state, if it goes on from the state there is.
    fn adopt(&self, bytes: &[u8]) -> Result<Arc<State>, KeyFileError> {
        let known = self.state().clone();
        let new = known.follow(bytes, self.path())?;
        check_successor(&known.keys.keysets, &new.keys.keysets, self.path())?;
        let (from, to) = (known.keys.keysets.revision(), new.keys.keysets.revision());
        if from == to {
            return Ok(known);
        }
        let new = Arc::new(new);
        self.install(new.clone());
        self.tell(&Event::Reloaded { revision: to, from_revision: from });
        Ok(new)
    }

    /// Swaps the state, unless a later one came first.
    fn install(&self, new: Arc<State>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.keys.keysets.revision() < new.keys.keysets.revision() {
            *state = new;
        }
    }

    /// Remembers whether the file was in order, and tells when that changed.
    fn note(&self, outcome: Result<(), KeyFileError>) -> Result<(), KeyFileError> {
        let mut failure = lock(&self.failure);
        let is_new = failure.is_none();
        *failure = outcome.as_ref().err().cloned();
        drop(failure);
        self.failed.store(outcome.is_err(), Ordering::Release);
        if let Err(error) = outcome.as_ref().map_err(|error| error as &dyn core::error::Error)
            && is_new
        {
            self.tell(&Event::ReloadFailed { error });
        }
        outcome
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.options.observer {
            observer.event(event);
        }
    }

    /// Makes all of `changes`, or none.
    pub(super) fn change(
        &self,
        changes: &[Change<'_>],
        terms: &Terms,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Changed, Error> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&writer)?;
        let (keys, changed, new) = state.keys.with_changes(changes, terms, rng)?;
        let file = state.file_with(&keys, &new, terms.now(), rng)?;
        self.write(&mut writer, &mut seen, state.with_file(keys, file))?;
        Ok(changed)
    }

    /// Puts the file under another protection.
    pub(super) fn change_protection(
        &self,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), Error> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&writer)?;
        let new = state.protected_anew(protection, Timestamp::now(), rng, self.path())?;
        self.write(&mut writer, &mut seen, new)?;
        Ok(())
    }

    /// Makes sure that what `key` was used for is counted in the file.
    pub(super) fn account(&self, key: &SoftwareKey) -> Result<(), KeyringError> {
        let counts = self.options.count_usage && !self.options.read_only;
        if !counts || self.allowances.missing(key).is_none() {
            return Ok(());
        }
        self.take_block(key).map_err(KeyringError::unavailable)
    }

    fn take_block(&self, key: &SoftwareKey) -> Result<(), KeyFileError> {
        let _taking = lock(&self.taking);
        // Another thread may have taken one meanwhile.
        let Some(block) = self.allowances.missing(key) else { return Ok(()) };
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&writer)?;
        let mut keys = state.keys.clone();
        let mut records = keys.keysets.iter_mut().flat_map(Keyset::versions_mut);
        if let Some(record) = records.find(|record| record.master_key_id == key.id()) {
            record.usage = record.usage.plus(block);
        }
        drop(records);
        self.write_usage(&mut writer, &mut seen, &state, keys)?;
        self.allowances.take(key.id(), block);
        Ok(())
    }

    fn write_usage(
        &self,
        writer: &mut Writer<'_>,
        seen: &mut Seen,
        state: &State,
        mut keys: SoftwareKeys,
    ) -> Result<(), KeyFileError> {
        keys.keysets.touch();
        let file = state.file_with_usage(&keys, Timestamp::now());
        self.write(writer, seen, state.with_file(keys, file))
    }

    fn writer(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        if self.options.read_only {
            return Err(KeyFileError::ReadOnly { path: self.path().to_path_buf() });
        }
        self.store.lock(wait)
    }

    /// The state of the file, which stays so while `writer` lives.
    fn latest(&self, writer: &Writer<'_>) -> Result<Arc<State>, KeyFileError> {
        let loaded = writer.load()?;
        self.adopt(loaded.bytes())
    }

    /// Writes `new` and makes it the state.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        seen: &mut Seen,
        new: State,
    ) -> Result<(), KeyFileError> {
        let bytes = new.encode(self.path())?;
        writer.replace(&bytes)?;
        // The lock is held: it is the file that was written, and the next look reads it again.
        if let Ok(stamp) = self.store.stamp() {
            *seen = Seen { stamp, settled: false };
        }
        self.install(Arc::new(new));
        Ok(())
    }

    /// Gives back what this process took for counting and did not use.
    fn give_back(&self) -> Result<(), KeyFileError> {
        let state = self.state().clone();
        let unused = self.allowances.give_back(|id| state.keys.key(id));
        if unused.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer(LAST_WAIT)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&writer)?;
        let mut keys = state.keys.clone();
        for record in keys.keysets.iter_mut().flat_map(Keyset::versions_mut) {
            if let Some(unused) = unused.get(&record.master_key_id) {
                record.usage = record.usage.minus(*unused);
            }
        }
        self.write_usage(&mut writer, &mut seen, &state, keys)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // At the worst, the count is too high.
        drop(self.give_back());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

