//! An open key file: the state that all handles of it share.

use super::change::discard_after;
use super::error::KeyFileError;
use super::options::FileKeyringOptions;
use super::outer_keyrings::OuterKeyrings;
use super::protection::Protection;
use super::reload::{KeyFileEvent, LastLoad};
use super::snapshot::{Snapshot, at};
use super::storage::Store;
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::key_table::MasterKeys;
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::keyset::{Change, ChangeOptions, KeysetMap, Material};
use crate::observe::EventQueue;
use crate::sync::{AtomicU64, RwLock, RwLockReadGuard, lock};
use crate::time::Timestamp;
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU32};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;
use zeroize::Zeroizing;

/// An open key file.
pub(super) struct OpenKeyFile {
    pub(super) store: Store,
    pub(super) options: FileKeyringOptions,
    pub(super) snapshot: RwLock<Arc<Snapshot>>,
    /// Locked while one thread polls the file. `None` after a commit: the next poll reads the file.
    pub(super) last_load: Mutex<Option<LastLoad>>,
    /// Nanoseconds from `opened` to the last poll.
    pub(super) last_poll: AtomicU64,
    pub(super) opened: Instant,
    /// Whether the last poll failed, and why.
    pub(super) failed: AtomicBool,
    pub(super) failure: Mutex<Option<KeyFileError>>,
    /// Locked while counted usage is compared with recorded usage.
    pub(super) usage_lock: Mutex<()>,
    /// Locked while one thread reserves wraps; when the last attempt failed, and why.
    pub(super) reserving: Mutex<Option<(Instant, KeyFileError)>>,
    pub(super) outer: OuterKeyrings,
    /// The process that counts usage.
    pub(super) process: AtomicU32,
    pub(super) events: EventQueue<KeyFileEvent>,
}

/// The keysets of a snapshot.
pub(super) struct LoadedKeysets(Arc<Snapshot>);

impl Deref for LoadedKeysets {
    type Target = KeysetMap;

    fn deref(&self) -> &KeysetMap {
        &self.0.keys.keysets
    }
}

impl OpenKeyFile {
    /// Creates a file with one master key.
    pub(super) fn create(
        store: Store,
        options: FileKeyringOptions,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, Error> {
        if options.read_only {
            return Err(KeyFileError::ReadOnly { path: store.path().to_path_buf() }.into());
        }
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        let change = Change::CreateKey { key, version, material };
        let none = MasterKeys::new(source);
        let terms = ChangeOptions::at(Timestamp::now());
        let (mut keys, _, new) = none.with_changes(&[change], &terms, &mut OsRandom)?;
        if options.anchor > keys.keysets.change() {
            keys.keysets.set_revision(options.anchor);
        }
        let snapshot = Snapshot::create(keys, &new, protection, &mut OsRandom);
        let created = snapshot
            .map_err(at(store.path()))
            .and_then(|snapshot| OpenKeyFile::create_with(store, options, snapshot, protection));
        Ok(created.inspect_err(|error| discard_after(&none, &new, error))?)
    }

    /// Creates a file that holds `snapshot`.
    pub(super) fn create_with(
        store: Store,
        options: FileKeyringOptions,
        mut snapshot: Snapshot,
        protection: &Protection,
    ) -> Result<Self, KeyFileError> {
        let bytes = Zeroizing::new(snapshot.encode(None).map_err(at(store.path()))?);
        store.lock(options.lock_wait)?.create(&bytes)?;
        Ok(OpenKeyFile::new(store, options, snapshot, None, Instant::now(), protection))
    }

    pub(super) fn open(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, Error> {
        // Before the load: a slow secret makes what was read older.
        let opened = Instant::now();
        let (snapshot, loaded) = LastLoad::first(&store, &options, protection, source)?;
        let open_file =
            OpenKeyFile::new(store, options, snapshot, Some(loaded), opened, protection);
        open_file.publish_outer();
        Ok(open_file)
    }

    fn new(
        store: Store,
        options: FileKeyringOptions,
        snapshot: Snapshot,
        last_load: Option<LastLoad>,
        opened: Instant,
        protection: &Protection,
    ) -> Self {
        let outer = OuterKeyrings::default();
        outer.add(protection);
        OpenKeyFile {
            store,
            snapshot: RwLock::new(Arc::new(snapshot)),
            last_load: Mutex::new(last_load),
            last_poll: AtomicU64::default(),
            opened,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            usage_lock: Mutex::new(()),
            reserving: Mutex::new(None),
            outer,
            process: AtomicU32::new(std::process::id()),
            events: EventQueue::new(options.observer.clone()),
            options,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.store.path()
    }

    /// The current snapshot. It is not replaced while the guard lives.
    pub(super) fn snapshot(&self) -> RwLockReadGuard<'_, Arc<Snapshot>> {
        self.snapshot.read()
    }

    pub(super) fn keysets(&self) -> LoadedKeysets {
        LoadedKeysets(self.snapshot().clone())
    }

    pub(super) fn last_error(&self) -> Option<KeyFileError> {
        lock(&self.failure).clone()
    }

    pub(super) fn read_only_error(&self) -> KeyFileError {
        KeyFileError::ReadOnly { path: self.path().to_path_buf() }
    }
}

impl Drop for OpenKeyFile {
    fn drop(&mut self) {
        // Tries the lock once. Usage that cannot be written is lost.
        drop(self.flush(core::time::Duration::ZERO, true));
    }
}
