//! What all handles of one key file share: the state that is loaded, and how it is kept fresh.

use super::error::KeyFileError;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::stamp::Stamp;
use super::state::{State, at};
use super::store::Store;
use super::successor::check_successor;
use super::usage::Allowances;
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::KeyringError;
use crate::keyring::software_keys::SoftwareKeys;
use crate::keyset::{Change, Keyset, Keysets, Material, Terms};
use crate::observe::Event;
use crate::random::RandomPool;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Instant, SystemTime};
use zeroize::Zeroizing;

/// One key file, open.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) options: FileKeyringOptions,
    state: RwLock<Arc<State>>,
    /// What the file was when it was last loaded; held while one thread looks.
    pub(super) seen: Mutex<Seen>,
    /// Nanoseconds from `started` to the last look.
    looked: AtomicU64,
    started: Instant,
    /// Whether the last look failed, and why.
    failed: AtomicBool,
    failure: Mutex<Option<KeyFileError>>,
    pub(super) allowances: Allowances,
    /// One thread takes a block.
    pub(super) taking: Mutex<()>,
    /// What the observer is told once no lock is held.
    news: Mutex<Vec<News>>,
}

/// What happened to the state.
enum News {
    Reloaded { revision: u64, from_revision: u64 },
    Rotated { key: String, from: Option<KeyVersion>, to: KeyVersion, revision: u64 },
    Failed(KeyFileError),
}

/// What a file is known again by: its stamp, if every later state of it has another.
pub(super) struct Seen(Option<Stamp>);

impl Seen {
    /// Nothing: the next look reads the file. So it is after a write, when no stamp is settled,
    /// and a look that failed would make an error of a success.
    pub(super) const NOTHING: Seen = Seen(None);

    /// What was loaded; reading began at `read_at`.
    fn of(stamp: Stamp, read_at: SystemTime) -> Self {
        Seen(stamp.is_settled(read_at).then_some(stamp))
    }
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
        let created = State::create(keys, &new, protection, &mut rng);
        let state = created.map_err(at(store.path()))?;
        Ok(Shared::create_of(store, options, state)?)
    }

    /// Writes `state` to a new file.
    pub(super) fn create_of(
        store: Store,
        options: FileKeyringOptions,
        state: State,
    ) -> Result<Self, KeyFileError> {
        let bytes = Zeroizing::new(state.encode(None).map_err(at(store.path()))?);
        store.lock(options.lock_wait)?.create(&bytes)?;
        Ok(Shared::new(store, options, state, Seen::NOTHING))
    }

    pub(super) fn open(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
    ) -> Result<Self, Error> {
        let read_at = SystemTime::now();
        let loaded = store.load()?;
        let state = State::open(loaded.bytes(), protection).map_err(at(store.path()))?;
        let (found, known) = (state.keys.keysets.revision(), options.anchor);
        if found < known {
            let path = store.path().to_path_buf();
            return Err(KeyFileError::RolledBack { path, found, known }.into());
        }
        let seen = Seen::of(loaded.stamp(), read_at);
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
            news: Mutex::new(Vec::new()),
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
        let Ok(mut seen) = self.seen.try_lock() else { return };
        // What is wrong stops wraps, is told to the observer, and can be asked for.
        drop(self.look(&mut seen));
        drop(seen);
        self.publish();
    }

    /// Looks at the file now.
    pub(super) fn reload(&self) -> Result<(), KeyFileError> {
        let outcome = self.look(&mut lock(&self.seen));
        self.publish();
        outcome
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
        if let Some(stamp) = seen.0
            && self.store.stamp()? == stamp
        {
            return Ok(());
        }
        let read_at = SystemTime::now();
        let loaded = self.store.load()?;
        self.adopt(loaded.bytes())?;
        *seen = Seen::of(loaded.stamp(), read_at);
        Ok(())
    }

    /// Makes what a file holds the state, if it goes on from the state there is.
    pub(super) fn adopt(&self, bytes: &[u8]) -> Result<Arc<State>, KeyFileError> {
        let known = self.state().clone();
        let new = known.follow(bytes).map_err(at(self.path()))?;
        check_successor(&known.keys.keysets, &new.keys.keysets, self.path())?;
        let (from, to) = (known.keys.keysets.revision(), new.keys.keysets.revision());
        if from == to {
            return Ok(known);
        }
        let new = Arc::new(new);
        self.install(new.clone());
        self.report(News::Reloaded { revision: to, from_revision: from });
        self.report_rotations(&known.keys.keysets, &new.keys.keysets);
        Ok(new)
    }

    /// Swaps the state, unless a later one came first.
    pub(super) fn install(&self, new: Arc<State>) {
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
        if let Err(error) = outcome.as_ref()
            && is_new
        {
            self.report(News::Failed(error.clone()));
        }
        outcome
    }

    fn report(&self, news: News) {
        if self.options.observer.is_some() {
            lock(&self.news).push(news);
        }
    }

    /// Reports each key whose primary is another than before.
    fn report_rotations(&self, before: &Keysets, after: &Keysets) {
        if self.options.observer.is_none() {
            return;
        }
        for keyset in after.iter() {
            let key = keyset.name().as_str();
            let from = before.keyset(key).and_then(Keyset::primary);
            if let Some(to) = keyset.primary().filter(|to| Some(*to) != from) {
                let revision = after.revision();
                self.report(News::Rotated { key: key.into(), from, to, revision });
            }
        }
    }

    /// Tells the observer; no lock is held.
    pub(super) fn publish(&self) {
        let Some(observer) = &self.options.observer else { return };
        let news = core::mem::take(&mut *lock(&self.news));
        for news in &news {
            observer.event(&match news {
                News::Reloaded { revision, from_revision } => {
                    Event::Reloaded { revision: *revision, from_revision: *from_revision }
                }
                News::Rotated { key, from, to, revision } => {
                    Event::Rotated { key, from: *from, to: *to, revision: *revision }
                }
                News::Failed(error) => Event::ReloadFailed { error },
            });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // At the worst, the count is too high.
        drop(self.give_back());
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
