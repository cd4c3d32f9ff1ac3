//! One file of bytes, read so that what was read cannot vanish in a crash.

use super::fingerprint::Fingerprint;
use super::location::{Place, Route};
use super::lock::Lock;
use super::permissions::{Checks, refused};
use super::read::Loaded;
use super::sync_state::SyncState;
use super::writer::Writer;
use crate::fs::{Directory, FileAction, FileRules, FileStat, uninterrupted};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::ffi::OsStr;
use std::path::Path;

/// The most bytes that a key file may have: 64 MiB.
pub const MAX_KEY_FILE_LEN: u64 = 64 << 20;

/// How often a file that changes under the reader is read before the reader gives up.
const READ_ATTEMPTS: usize = 4;

/// One file in a [`Directory`], replaced as a whole and durably.
///
/// A store can be used from many threads. Two stores of one file, in one process or in several,
/// exclude each other as writers and never disturb each other's readers.
///
/// # Links
///
/// A store of a path follows it anew for each load and each lock, so that it goes on where a link
/// on the way is turned to another directory. A link in the last place is followed if it and its
/// directory are root's, this process's user's, or of an owner who is allowed. A writer locks and
/// writes beside the file that the path leads to when it takes the lock, and refuses if the path
/// leads elsewhere by the time of the rename.
///
/// # After a failed sync
///
/// The kernel forgets what it could not write, and a second `fsync` can answer success for it.
/// So no sync is ever tried again. A temporary file whose sync failed is thrown away, and the next
/// change makes another; once a sync of the directory has failed, the store neither reads nor
/// writes ([`KeyFileError::Poisoned`]).
pub struct Store {
    route: Route,
    rules: FileRules,
    pub(crate) sync_state: SyncState,
}

impl Store {
    /// A store of the file `path`, which need not exist; its directory must.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::FileName`] if the path does not end in the name of a file,
    /// [`KeyFileError::Io`] if the directory cannot be opened.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Store::of(Route::of_path(path)?))
    }

    /// A store of the file `name` in `directory`.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::FileName`] if `name` is not a plain name of at most 233 bytes.
    pub fn in_directory(directory: Arc<dyn Directory>, name: &OsStr) -> Result<Self, KeyFileError> {
        Ok(Store::of(Route::Fixed(Arc::new(Place::new(directory, name)?))))
    }

    fn of(route: Route) -> Self {
        Store { route, rules: FileRules::new(), sync_state: SyncState::default() }
    }

    /// Accepts what `rules` accept. A file that this store makes has mode 0600, and one that it
    /// replaces keeps its own.
    #[must_use]
    pub fn with_rules(mut self, rules: FileRules) -> Self {
        self.rules = rules;
        self
    }

    /// A store of the same file, of which no sync has failed yet.
    pub(crate) fn anew(&self) -> Self {
        Store { route: self.route.clone(), rules: self.rules, sync_state: SyncState::default() }
    }

    /// The path of the file, as it was given.
    pub fn path(&self) -> &Path {
        self.route.path()
    }

    /// Reads the file.
    ///
    /// Never sees a half-written file, and does not wait for writers. What it returns survives a
    /// power failure: another process can have renamed the file into place a moment ago without
    /// its directory being on the medium yet, and who wraps under a version from that file would
    /// lose the messages with it. So the directory is synced here too, **after** the file was
    /// opened: a sync before says nothing of a rename in between. Where nothing is pending this
    /// costs no writing. Of a directory that may be searched and not read (mode 0711) the whole
    /// file system is synced instead.
    ///
    /// A file system that cannot sync directories at all (`EINVAL`, `EBADF`, `ENOTSUP`, `ENOSYS`:
    /// ISO 9660, squashfs, some network ones) has nothing pending that a sync could reach; that is
    /// taken for success. `EROFS` is not: a medium mounted for reading answers success, and ext4
    /// says `EROFS` when it stopped after an error with changes still in memory.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NotFound`]; what is wrong with kind, owner, permissions or length of the
    /// file; [`KeyFileError::MountedAlone`]; [`KeyFileError::Changing`]; [`KeyFileError::Io`];
    /// [`KeyFileError::Poisoned`].
    pub fn load(&self) -> Result<Loaded, KeyFileError> {
        let first = self.load_at(&*self.place()?);
        match (&self.route, first) {
            // The directory that a link led to can be gone by now, and the link lead elsewhere.
            (Route::Path { .. }, Err(KeyFileError::NotFound { .. })) => {
                self.load_at(&*self.place()?)
            }
            (_, answer) => answer,
        }
    }

    /// Reads the file that is at `place`.
    pub(crate) fn load_at(&self, place: &Place) -> Result<Loaded, KeyFileError> {
        self.sync_state.demand(self.path())?;
        for _ in 0..READ_ATTEMPTS {
            if let Some(loaded) = self.read(place)? {
                return Ok(loaded);
            }
        }
        Err(KeyFileError::Changing { path: self.path().to_path_buf() })
    }

    /// What tells whether the file is still the one that was loaded: one `stat` of the path.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NotFound`], [`KeyFileError::Io`].
    pub fn fingerprint(&self) -> Result<Fingerprint, KeyFileError> {
        Ok(Fingerprint::of(&self.route.stat(false)?))
    }

    /// Whether anything has the name, a link included.
    pub(crate) fn exists(&self) -> Result<bool, KeyFileError> {
        match self.route.stat(true) {
            Ok(_) => Ok(true),
            Err(KeyFileError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for at most `wait` until no other writer is at work, and becomes the one.
    ///
    /// The lock is `flock` on `<name>.lock`, a file that is never written, nor removed once it was
    /// locked. The kernel releases it when its holder dies, however that happens. It excludes
    /// threads as it does processes; a thread that locks twice waits for itself. It is tried anew
    /// after 1, 2, 4 ms and so on up to 20 ms; among many writers none is preferred.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Locked`] if the time is over; [`KeyFileError::NoLocks`];
    /// [`KeyFileError::UnstableIdentity`]; what is wrong with kind, owner or permissions of the
    /// lock file; [`KeyFileError::Io`]; [`KeyFileError::Poisoned`].
    pub fn lock(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        self.sync_state.demand(self.path())?;
        let place = self.place()?;
        let lock = Lock::acquire(&place, &self.checks(), wait)?;
        // Whoever held the lock until now can have been a thread whose sync failed.
        self.sync_state.demand(self.path())?;
        Ok(Writer::new(self, place, lock))
    }

    /// Why the file cannot be written, as far as that can be told without a write.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Poisoned`]; [`KeyFileError::Io`] with [`FileAction::Create`] where no file
    /// can be created beside it, and with [`FileAction::SyncDirectory`] where its directory cannot
    /// be synced; those of finding it.
    pub(crate) fn check_writable(&self) -> Result<(), KeyFileError> {
        let place = self.place()?;
        self.sync_state.demand_writing(&place)?;
        uninterrupted(|| place.directory.check_writable())
            .map_err(refused(FileAction::Create, place.directory.path()))
    }

    /// The path of the lock file.
    #[cfg(any(test, feature = "test-util"))]
    pub fn lock_path(&self) -> std::path::PathBuf {
        let path = self.path();
        path.with_file_name(super::lock::lock_name(path.file_name().unwrap_or_default()))
    }

    /// Where the file is now.
    fn place(&self) -> Result<Arc<Place>, KeyFileError> {
        self.route.place(self.rules, self.user())
    }

    pub(crate) fn checks(&self) -> Checks {
        Checks { user: self.user(), rules: self.rules }
    }

    /// The effective user of this process.
    fn user(&self) -> u32 {
        match &self.route {
            Route::Fixed(place) => place.directory.effective_uid(),
            Route::Path { .. } => rustix::process::geteuid().as_raw(),
        }
    }

    /// Refuses what is not a private regular file, or too long.
    pub(crate) fn check(&self, stat: &FileStat) -> Result<(), KeyFileError> {
        self.checks().check(stat, self.path())?;
        self.check_len(stat.len)
    }

    pub(crate) fn check_len(&self, len: u64) -> Result<(), KeyFileError> {
        if len > MAX_KEY_FILE_LEN {
            let path = self.path().to_path_buf();
            return Err(KeyFileError::TooLarge { path, len, most: MAX_KEY_FILE_LEN });
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).finish_non_exhaustive()
    }
}
