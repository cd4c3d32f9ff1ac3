//! How a key file is opened.

use super::error::KeyFileError;
use super::keyring::FileKeyring;
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use super::read_only::ReadOnlyFileKeyring;
use super::snapshot::at;
use super::storage::Store;
use crate::error::Error;
#[cfg(feature = "test-util")]
use crate::fs::Directory;
use crate::fs::FileRules;
use crate::keyring::held::KeySource;
use crate::keyring::software::SoftwareSource;
use crate::observe::Observer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
#[cfg(feature = "test-util")]
use std::ffi::OsStr;
use std::path::Path;

/// How a key file is created or opened, where [`FileKeyring::create`] and
/// [`FileKeyring::open`] do not fit.
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
    /// The defaults.
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

    /// The longest time for which a change that another process made can go unnoticed while
    /// this one wraps and unwraps. The default is one second. Where the look itself takes long, other
    /// threads go on with what is loaded for as long again, and then wait for it. Time in which the
    /// machine sleeps does not count.
    ///
    /// Noticing costs one `stat` in each such time; with zero, one for each wrap and unwrap. A
    /// version that is not known here is looked for at once, whatever this says.
    #[must_use]
    pub const fn refresh_after(mut self, time: Duration) -> Self {
        self.refresh = time;
        self
    }

    /// How long a change waits for another writer. The default is ten seconds.
    #[must_use]
    pub const fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// Refuses a file whose change number is below `change`, with
    /// [`KeyFileError::RolledBack`](crate::file::KeyFileError::RolledBack).
    ///
    /// Whoever can write the file can put an older one of it back, which nothing in the file can
    /// tell. The caller can, by keeping the number of the last change
    /// ([`ChangeOutcome::change`](crate::keyset::ChangeOutcome), [`FileKeyring::change_number`]) somewhere else. It is a
    /// number only: an old file that was changed as often since is not told by it.
    #[must_use]
    pub const fn at_least_change(mut self, change: u64) -> Self {
        self.anchor = change;
        self
    }

    /// Accepts key and lock files of these owners and modes. A change keeps owner, group, mode and
    /// access control list of the file, and is refused where this process may not set them.
    #[must_use]
    pub const fn rules(mut self, rules: FileRules) -> Self {
        self.rules = rules;
        self
    }

    /// As [`FileRules::allow_permissions`].
    #[must_use]
    pub const fn allow_permissions(mut self) -> Self {
        self.rules = self.rules.allow_permissions();
        self
    }

    /// As [`FileRules::allow_owner`].
    #[must_use]
    pub const fn allow_owner(mut self, uid: u32) -> Self {
        self.rules = self.rules.allow_owner(uid);
        self
    }

    /// Never writes: for a file on a medium that is mounted read-only. Changes are refused, and
    /// wraps are not counted. A version on a token whose wraps are limited then wraps 2^28 data keys
    /// through one keyring at most ([`Error::WrapLimit`]).
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Does not count wraps and bytes, so that the file is written by changes alone. A policy then
    /// goes by age alone, and limits are kept as in [`read_only`](Self::read_only).
    #[must_use]
    pub const fn without_usage(mut self) -> Self {
        self.count_usage = false;
        self
    }

    /// Reserves wraps in the file before they are made, as is always done for a version whose wraps
    /// are limited: then the count of wraps is never too low, whatever ends the process.
    ///
    /// A process reserves 16 wraps of a version at first, and then as many again as it has used, with
    /// one write for each block: a wrap that needs one waits for other writers, and fails
    /// where the file cannot be written. What is left is given back by
    /// [`close`](FileKeyring::close) and on drop; after a crash it counts as used. Bytes are not
    /// reserved. Processes that share a file should all reserve, or none.
    #[must_use]
    pub const fn reserve_usage(mut self) -> Self {
        self.reserve_usage = true;
        self
    }

    /// Tells `observer` when the file was loaded again, and when that failed. Everything else is
    /// told by an [`ObservedKeyring`](crate::observe::ObservedKeyring) around this keyring.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// As [`FileKeyring::create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.create_with(path.as_ref(), key, protection, software())
    }

    /// As [`FileKeyring::open`].
    ///
    /// # Errors
    ///
    /// As there; [`KeyFileError::RolledBack`].
    pub fn open(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.open_any(path, protection)?.with_key(key)
    }

    /// As [`FileKeyring::open_any`].
    ///
    /// # Errors
    ///
    /// As there; [`KeyFileError::RolledBack`].
    pub fn open_any(
        &self,
        path: impl AsRef<Path>,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        self.open_with(path.as_ref(), protection, &software())
    }

    /// As [`FileKeyring::open`], as a handle that changes nothing and takes no lock.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_read_only(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<ReadOnlyFileKeyring, Error> {
        let keyring = self.clone().read_only().open(path, key, protection)?;
        Ok(ReadOnlyFileKeyring::of(keyring))
    }

    /// As [`ReadOnlyFileKeyring::from_bytes`].
    ///
    /// # Errors
    ///
    /// As there; [`KeyFileError::RolledBack`].
    pub fn from_bytes(
        &self,
        bytes: &[u8],
        key: &str,
        protection: &Protection,
    ) -> Result<ReadOnlyFileKeyring, Error> {
        ReadOnlyFileKeyring::from_bytes_with(self, bytes, key, protection)
    }

    /// As [`FileKeyring::open_or_create`]. With an anchor
    /// ([`at_least_change`](Self::at_least_change)) the file was there once, and is not made anew.
    ///
    /// # Errors
    ///
    /// As there; [`KeyFileError::NotFound`] with an anchor.
    pub fn open_or_create(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<FileKeyring, Error> {
        let path = path.as_ref();
        let opened = self.open(path, key, protection);
        let is_missing =
            |error: &Error| matches!(error.backend(), Some(KeyFileError::NotFound { .. }));
        // Of a file that was changed nothing is left: another one is not what it became.
        if self.anchor > 0 || !opened.as_ref().is_err_and(is_missing) {
            return opened;
        }
        match self.create(path, key, protection) {
            // Another process was faster, and its file is whole.
            Err(error) if matches!(error.backend(), Some(KeyFileError::Exists { .. })) => {
                self.open(path, key, protection)
            }
            created => created,
        }
    }

    /// As [`FileKeyring::read_protections`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_protections(&self, path: impl AsRef<Path>) -> Result<Vec<ProtectionRecord>, Error> {
        let store = self.store(path.as_ref())?;
        let loaded = store.load()?;
        Ok(ProtectionRecord::read(loaded.bytes()).map_err(at(store.path()))?)
    }

    /// As [`create`](Self::create), of a file whose key material `source` makes.
    ///
    /// # Errors
    ///
    /// As there, and those of the source.
    pub(crate) fn create_with(
        &self,
        path: &Path,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeySource>,
    ) -> Result<FileKeyring, Error> {
        FileKeyring::create_in(self.store(path)?, self.clone(), key, protection, source)
    }

    /// As [`open_any`](Self::open_any), of a file whose versions may be those of `source`.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn open_with(
        &self,
        path: &Path,
        protection: &Protection,
        source: &Arc<dyn KeySource>,
    ) -> Result<FileKeyring, Error> {
        FileKeyring::open_in(self.store(path)?, self.clone(), protection, source)
    }

    /// As [`create`](Self::create), of the file `name` in a directory of a judge's.
    ///
    /// # Errors
    ///
    /// As there.
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

    /// As [`open_any`](Self::open_any), of the file `name` in a directory of a judge's.
    ///
    /// # Errors
    ///
    /// As there.
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

/// The source of a file whose key material is all in it.
pub(super) fn software() -> Arc<dyn KeySource> {
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
