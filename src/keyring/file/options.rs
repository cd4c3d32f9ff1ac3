//! Options of creating and opening a key file.

use super::error::KeyFileError;
use super::keyring::FileKeyring;
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use super::read_only::ReadOnlyFileKeyring;
use super::snapshot::at;
use super::storage::{MemoryFile, Store};
use crate::error::Error;
#[cfg(feature = "test-util")]
use crate::fs::Directory;
use crate::fs::{FileError, FileRules};
use crate::keyring::software::SoftwareSource;
use crate::keyring::wrapping_key::KeyMaterialStore;
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::observe::Observer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
#[cfg(feature = "test-util")]
use std::ffi::OsStr;
use std::path::Path;

/// Options of creating and opening a key file.
#[derive(Clone)]
pub struct FileKeyringOptions {
    pub(super) refresh: Duration,
    pub(super) lock_wait: Duration,
    pub(super) anchor: u64,
    pub(super) rules: FileRules,
    pub(super) read_only: bool,
    pub(super) count_usage: bool,
    pub(super) reserve_usage: bool,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Default for FileKeyringOptions {
    fn default() -> Self {
        FileKeyringOptions::new()
    }
}

impl FileKeyringOptions {
    /// Returns the defaults: a poll every second, up to 10 seconds for the lock, usage counted.
    pub const fn new() -> Self {
        FileKeyringOptions {
            refresh: Duration::from_secs(1),
            lock_wait: Duration::from_secs(10),
            anchor: 0,
            rules: FileRules::new(),
            read_only: false,
            count_usage: true,
            reserve_usage: false,
            observer: None,
        }
    }

    /// Sets how old the loaded keys can get, while this process wraps and unwraps, before the file is
    /// polled. The default is one second. While one thread polls, others use the loaded keys for as
    /// long again, and then wait. Time in which the machine sleeps does not count.
    ///
    /// A poll costs one `stat`; zero polls for each wrap and unwrap. An unknown version is looked up
    /// in the file at once.
    #[must_use]
    pub const fn refresh_after(mut self, time: Duration) -> Self {
        self.refresh = time;
        self
    }

    /// Sets how long a change waits for another writer. The default is ten seconds.
    #[must_use]
    pub const fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// Refuses a file whose change number is below `change`, with
    /// [`KeyFileError::RolledBack`](crate::file::KeyFileError::RolledBack).
    ///
    /// Nothing in a file shows that an older copy was put back. The caller detects it by storing the
    /// number of the last change ([`ChangeOutcome::change`](crate::keyset::ChangeOutcome),
    /// [`FileKeyring::change_number`]) outside of the file. An old copy that was changed as often
    /// since is not detected.
    #[must_use]
    pub const fn at_least_change(mut self, change: u64) -> Self {
        self.anchor = change;
        self
    }

    /// Accepts key and lock files of these owners and modes. A change preserves owner, group, mode
    /// and access control list of the file, and fails if this process may not set them.
    #[must_use]
    pub const fn rules(mut self, rules: FileRules) -> Self {
        self.rules = rules;
        self
    }

    /// Accepts a key file that others may read or write ([`FileRules::allow_permissions`]).
    #[must_use]
    pub const fn allow_permissions(mut self) -> Self {
        self.rules = self.rules.allow_permissions();
        self
    }

    /// Accepts a key file of the user `uid`, who can replace it ([`FileRules::allow_owner`]).
    #[must_use]
    pub const fn allow_owner(mut self, uid: u32) -> Self {
        self.rules = self.rules.allow_owner(uid);
        self
    }

    /// Never writes: for a file on a read-only mount. Changes fail, and wraps are not counted. A
    /// version with a wrap limit then wraps at most 2^28 data keys through one keyring
    /// ([`Error::WrapLimit`]).
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Does not count wraps and bytes: only changes write the file. Policies then see ages alone, and
    /// wrap limits apply as with [`read_only`](Self::read_only).
    #[must_use]
    pub const fn without_usage(mut self) -> Self {
        self.count_usage = false;
        self
    }

    /// Reserves wraps in the file before they are made, so that the recorded count is never too low.
    /// Versions with a wrap limit always do.
    ///
    /// The first block has 16 wraps, and each further one as many as all before it. A wrap that needs
    /// a new block waits for other writers, and fails if the file cannot be written.
    /// [`close`](FileKeyring::close) and drop return unused wraps; after a crash they count as used.
    /// Bytes are not reserved. Processes that share a file should all reserve, or none.
    #[must_use]
    pub const fn reserve_usage(mut self) -> Self {
        self.reserve_usage = true;
        self
    }

    /// Reports to `observer` when the file was reloaded, and when that failed. An
    /// [`ObservedKeyring`](crate::observe::ObservedKeyring) around this keyring reports everything
    /// else.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// [`FileKeyring::create`] with these options.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`]; [`FileError::Exists`]; other errors of a file that cannot be written.
    pub fn create(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.create_with(path.as_ref(), key, protection, software())
    }

    /// [`FileKeyring::open`] with these options.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`]; [`KeyFileError::RolledBack`].
    pub fn open(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.open_any(path, protection)?.with_key(key)
    }

    /// [`FileKeyring::open_any`] with these options.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`]; [`KeyFileError::RolledBack`].
    pub fn open_any(
        &self,
        path: impl AsRef<Path>,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.open_with(path.as_ref(), protection, &software())
    }

    /// Opens a handle that changes nothing and takes no lock.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`]; [`KeyFileError::RolledBack`].
    pub fn open_read_only(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<ReadOnlyFileKeyring, Error> {
        let keyring = self.clone().read_only().open(path, key, protection)?;
        Ok(ReadOnlyFileKeyring::of(keyring, None))
    }

    /// [`ReadOnlyFileKeyring::from_bytes`] with these options.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`]; [`KeyFileError::RolledBack`].
    pub fn from_bytes(
        &self,
        bytes: &[u8],
        key: &str,
        protection: &Protection,
    ) -> Result<ReadOnlyFileKeyring, Error> {
        let file = Arc::new(MemoryFile::new(bytes));
        let (store, options) = (Store::in_memory(file.clone()), self.clone().read_only());
        let keyring = FileKeyring::open_in(store, options, protection, &software())?;
        Ok(ReadOnlyFileKeyring::of(keyring.with_key(key)?, Some(file)))
    }

    /// [`FileKeyring::open_or_create`] with these options. With an anchor
    /// ([`at_least_change`](Self::at_least_change)) the file existed before, and is not created.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`] and [`FileKeyring::create`]; [`FileError::NotFound`] with an
    /// anchor.
    pub fn open_or_create(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        let path = path.as_ref();
        let opened = self.open(path, key, protection);
        let is_missing = |error: &Error| {
            matches!(error.backend(), Some(KeyFileError::File(FileError::NotFound { .. })))
        };
        // With an anchor a missing file is a loss, and a new one would not replace it.
        if self.anchor > 0 || !opened.as_ref().is_err_and(is_missing) {
            return opened;
        }
        match self.create(path, key, protection) {
            // Another process created the file, which is complete.
            Err(error)
                if matches!(
                    error.backend(),
                    Some(KeyFileError::File(FileError::Exists { .. }))
                ) =>
            {
                self.open(path, key, protection)
            }
            created => created,
        }
    }

    /// [`FileKeyring::read_protections`] with these options.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] if the file cannot be read, or its first line is damaged.
    pub fn read_protections(&self, path: impl AsRef<Path>) -> Result<Vec<ProtectionRecord>, Error> {
        let store = self.store(path.as_ref())?;
        let loaded = store.load()?;
        Ok(ProtectionRecord::read(loaded.bytes()).map_err(at(store.path()))?)
    }

    /// [`create`](Self::create), with key material of `source`.
    pub(crate) fn create_with(
        &self,
        path: &Path,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeyMaterialStore>,
    ) -> Result<FileKeyring, Error> {
        FileKeyring::create_in(self.store(path)?, self.clone(), key, protection, source)
    }

    /// [`open_any`](Self::open_any), with external key material of `source`.
    pub(crate) fn open_with(
        &self,
        path: &Path,
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<FileKeyring, Error> {
        FileKeyring::open_in(self.store(path)?, self.clone(), protection, source)
    }

    /// [`create`](Self::create) in a simulated directory.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    #[doc(hidden)]
    #[cfg(feature = "test-util")]
    pub fn create_in(
        &self,
        directory: Arc<dyn Directory>,
        name: &OsStr,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        let store = self.allowing(Store::in_directory(directory, name)?);
        FileKeyring::create_in(store, self.clone(), key, protection, software())
    }

    /// [`open_any`](Self::open_any) in a simulated directory.
    ///
    /// # Errors
    ///
    /// Those of [`open_any`](Self::open_any).
    #[doc(hidden)]
    #[cfg(feature = "test-util")]
    pub fn open_in(
        &self,
        directory: Arc<dyn Directory>,
        name: &OsStr,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        let store = self.allowing(Store::in_directory(directory, name)?);
        FileKeyring::open_in(store, self.clone(), protection, &software())
    }

    pub(super) fn store(&self, path: &Path) -> Result<Store, KeyFileError> {
        Ok(self.allowing(Store::open(path)?))
    }

    fn allowing(&self, store: Store) -> Store {
        store.with_rules(self.rules)
    }
}

/// The source of a file that holds all of its key material.
pub(super) fn software() -> Arc<dyn KeyMaterialStore> {
    Arc::new(SoftwareSource)
}

impl fmt::Debug for FileKeyringOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeyringOptions")
            .field("refresh", &self.refresh)
            .field("lock_wait", &self.lock_wait)
            .field("anchor", &self.anchor)
            .field("rules", &self.rules)
            .field("read_only", &self.read_only)
            .field("count_usage", &self.count_usage)
            .field("reserve_usage", &self.reserve_usage)
            .finish_non_exhaustive()
    }
}
