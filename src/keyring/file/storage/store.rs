//! One file of bytes: where it is, which files it may be, and how it is read and locked.

use super::in_memory::{self, MemoryFile};
use super::read::{Fingerprint, Loaded, SyncState};
use super::writer::Writer;
use crate::fs::{
    self, Directory, FileAction, FileError, FileRules, FileStat, Location, OsDirectory, RouteFault,
    RuleFault, failed, is_plain, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The longest name: `.<name>.<16 hexadecimal digits>.tmp` must be a name too, of at most 255.
const MAX_NAME_LEN: usize = 255 - 22;

/// Rights that the owner needs.
const OWNER: u32 = 0o600;

/// The most bytes that a key file may have: 64 MiB.
pub const MAX_KEY_FILE_LEN: u64 = 64 << 20;

/// How often a file that changes under the reader is read before the reader gives up.
const READ_ATTEMPTS: usize = 4;

/// One file in a [`Directory`], replaced as a whole and durably.
///
/// Many threads can use a store. Two stores of one file, in one process or in several, exclude each
/// other as writers and never block each other's readers.
///
/// # Links
///
/// A store of a path follows it again for each load and each lock, so that a link on the way can be
/// changed to another directory. A link in the last place is followed if it and its directory
/// belong to root, to the user of this process, or to an owner who is allowed. A writer locks and
/// writes beside the file that the path leads to when it takes the lock, and refuses if the path
/// leads to another file by the time of the rename.
///
/// # After a failed sync
///
/// The kernel forgets what it could not write, and a second `fsync` can report success for it. So
/// no sync is repeated. A temporary file whose sync failed is removed, and the next change makes
/// another. After a failed sync of the directory the store neither reads nor writes
/// ([`KeyFileError::Poisoned`]).
pub struct Store {
    locator: Locator,
    rules: FileRules,
    pub(super) sync_state: SyncState,
}

/// How a key file is found.
#[derive(Clone)]
enum Locator {
    /// Always at the same location.
    Fixed(Arc<Location>),
    /// Where the path leads, links included.
    Path {
        given: PathBuf,
        /// The same path for any working directory.
        absolute: PathBuf,
    },
    /// In memory, read-only.
    Memory(Arc<MemoryFile>),
}

impl Store {
    /// Returns a store of the file `path`, which need not exist; its directory must.
    ///
    /// # Errors
    ///
    /// [`FileError::Name`] if the path does not end in a file name of at most 233 bytes,
    /// [`FileError::Io`] if the directory cannot be opened.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let (_, name) = OsDirectory::of_file(path).map_err(|fault| fault.into_error(path))?;
        if !is_plain(&name, MAX_NAME_LEN) {
            return Err(FileError::Name { path: path.to_path_buf() }.into());
        }
        // Without a working directory, `path` itself is what the kernel can follow.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Store::new(Locator::Path { given: path.to_path_buf(), absolute }))
    }

    /// Returns a store of the file `name` in `directory`.
    ///
    /// # Errors
    ///
    /// [`FileError::Name`] if `name` is not a plain name of at most 233 bytes.
    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(dead_code, reason = "for simulated directories")
    )]
    pub fn in_directory(directory: Arc<dyn Directory>, name: &OsStr) -> Result<Self, KeyFileError> {
        let location = Location::new(directory, name, MAX_NAME_LEN)?;
        Ok(Store::new(Locator::Fixed(Arc::new(location))))
    }

    /// Returns a read-only store of `file`.
    pub(crate) fn in_memory(file: Arc<MemoryFile>) -> Self {
        Store::new(Locator::Memory(file))
    }

    fn new(locator: Locator) -> Self {
        Store { locator, rules: FileRules::new(), sync_state: SyncState::default() }
    }

    /// Accepts what `rules` accept. A file that this store creates has mode 0600, and one that it
    /// replaces keeps its own.
    #[must_use]
    pub fn with_rules(mut self, rules: FileRules) -> Self {
        self.rules = rules;
        self
    }

    /// Returns a store of the same file, of which no sync has failed yet.
    pub(crate) fn reopened(&self) -> Self {
        Store::new(self.locator.clone()).with_rules(self.rules)
    }

    /// Takes over the content in memory of `reopened` and what its syncs showed, and forgets a failed
    /// one.
    pub(crate) fn reset_to(&self, reopened: &Store) {
        if let (Locator::Memory(file), Locator::Memory(other)) = (&self.locator, &reopened.locator)
            && !Arc::ptr_eq(file, other)
        {
            file.put(other.load().bytes());
        }
        self.sync_state.reset_to(&reopened.sync_state);
    }

    /// Returns the path of the file, as it was given.
    pub fn path(&self) -> &Path {
        match &self.locator {
            Locator::Fixed(location) => &location.path,
            Locator::Path { given, .. } => given,
            Locator::Memory(_) => Path::new(in_memory::NAME),
        }
    }

    /// Reads the file.
    ///
    /// Never returns a half-written file, and does not wait for writers. A power failure does not
    /// undo what it returns: another process can have renamed the file into place without having
    /// synced its directory yet, and messages under a version from that file would be lost with
    /// it. So the directory is synced here too, **after** the file was opened: an earlier sync
    /// would miss a rename in between. Where nothing is pending this costs no write. Of a directory
    /// that can be searched and not read (mode 0711) the whole file system is synced instead.
    ///
    /// A file system that cannot sync directories at all (`EINVAL`, `EBADF`, `ENOTSUP`, `ENOSYS`:
    /// ISO 9660, squashfs, some network ones) has nothing pending that a sync could write; that
    /// counts as success. `EROFS` does not: a medium mounted for reading reports success, and ext4
    /// reports `EROFS` when it stopped after an error with changes still in memory.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`]; [`FileError::NotRegular`], [`KeyFileError::Owner`],
    /// [`KeyFileError::Permissions`], [`KeyFileError::TooLarge`]; [`KeyFileError::MountedAlone`];
    /// [`FileError::Changed`]; [`FileError::Io`]; [`KeyFileError::Poisoned`].
    pub fn load(&self) -> Result<Loaded, KeyFileError> {
        if let Locator::Memory(file) = &self.locator {
            return Ok(file.load());
        }
        match (&self.locator, self.load_at(&*self.locate()?)) {
            // The directory can be gone, and the link on the path lead to another one.
            (Locator::Path { .. }, Err(KeyFileError::File(FileError::NotFound { .. }))) => {
                self.load_at(&*self.locate()?)
            }
            (_, loaded) => loaded,
        }
    }

    /// Reads the file at `location`.
    pub(super) fn load_at(&self, location: &Location) -> Result<Loaded, KeyFileError> {
        self.sync_state.check_readable(self.path())?;
        let mut error = FileError::Changed { path: self.path().to_path_buf() }.into();
        for _ in 0..READ_ATTEMPTS {
            match self.read(location) {
                Ok(Some(loaded)) => return Ok(loaded),
                Ok(None) => {}
                // A replacement takes the last link of a file a moment before its name leads to the new one.
                Err(mounted @ KeyFileError::MountedAlone { .. }) => {
                    error = mounted;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
        Err(error)
    }

    /// Returns the fingerprint of the file, by one `stat` of the path.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`], [`FileError::Io`].
    pub fn fingerprint(&self) -> Result<Fingerprint, KeyFileError> {
        match &self.locator {
            Locator::Memory(file) => Ok(file.fingerprint()),
            _ => Ok(Fingerprint::of(&self.stat(false)?)),
        }
    }

    /// Reports whether anything has the name, a link included.
    pub(super) fn exists(&self) -> Result<bool, KeyFileError> {
        match self.stat(true) {
            Ok(_) => Ok(true),
            Err(FileError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the `stat` of the file, or of a link in the last place if `of_link`; unchecked.
    fn stat(&self, of_link: bool) -> Result<FileStat, FileError> {
        let stat = match &self.locator {
            Locator::Fixed(location) => return location.existing(),
            Locator::Path { absolute, .. } => uninterrupted(|| fs::stat_path(absolute, of_link)),
            Locator::Memory(_) => Err(io::ErrorKind::NotFound.into()),
        };
        let path = self.path();
        stat.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::NotFound { path: path.to_path_buf() },
            _ => failed(FileAction::Inspect, path)(error),
        })
    }

    /// Waits for at most `wait` until no other writer has the lock, and takes it.
    ///
    /// The lock is `flock` on `<name>.lock`, a file that is never written, nor removed once it was
    /// locked. The kernel releases it when its process dies. It excludes threads as it does
    /// processes; a thread that locks twice waits for itself. It is tried again after 1, 2, 4 ms and
    /// so on up to 20 ms; no writer is preferred.
    ///
    /// # Errors
    ///
    /// [`FileError::Locked`] after `wait`; [`FileError::NoLocks`]; [`FileError::UnstableIdentity`];
    /// [`FileError::NotRegular`], [`KeyFileError::Owner`], [`KeyFileError::Permissions`] for the lock
    /// file; [`FileError::Io`]; [`KeyFileError::Poisoned`].
    pub fn lock(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        self.sync_state.check_readable(self.path())?;
        let location = self.locate()?;
        let writer = Writer::lock(self, location, wait)?;
        // A sync of the thread that had the lock until now can have failed.
        self.sync_state.check_readable(self.path())?;
        Ok(writer)
    }

    /// Refuses if the file cannot be written, as far as that is known without a write.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Poisoned`]; [`FileError::Io`] with [`FileAction::Create`] where no file can
    /// be created beside it, and with [`FileAction::SyncDirectory`] where its directory cannot be
    /// synced; those of finding it.
    pub(crate) fn check_writable(&self) -> Result<(), KeyFileError> {
        let location = self.locate()?;
        self.sync_state.check_writable(&location)?;
        let directory = &location.directory;
        let writable = uninterrupted(|| directory.check_writable());
        Ok(writable.map_err(failed(FileAction::Create, directory.path()))?)
    }

    /// Returns the path of the lock file.
    #[cfg(any(test, feature = "test-util"))]
    pub fn lock_path(&self) -> std::path::PathBuf {
        let path = self.path();
        path.with_file_name(super::writer::lock_name(path.file_name().unwrap_or(path.as_os_str())))
    }

    /// Returns the location where the file is now. A file in memory has none and is read-only.
    fn locate(&self) -> Result<Arc<Location>, KeyFileError> {
        let (given, absolute) = match &self.locator {
            Locator::Fixed(location) => return Ok(location.clone()),
            Locator::Path { given, absolute } => (given, absolute),
            Locator::Memory(_) => {
                return Err(KeyFileError::ReadOnly { path: self.path().to_path_buf() });
            }
        };
        let user = self.user();
        let found = fs::follow(absolute, |uid| self.rules.accepts_owner(uid, user));
        let (directory, name) = found.map_err(|fault| match fault {
            RouteFault::Path(fault) => fault.into_error(given).into(),
            RouteFault::Link { path, owner } => KeyFileError::Owner { path, owner, user },
        })?;
        let location = Location::new(Arc::new(directory), &name, MAX_NAME_LEN)?;
        Ok(Arc::new(Location { path: given.clone(), ..location }))
    }

    /// The effective user of this process.
    fn user(&self) -> u32 {
        match &self.locator {
            Locator::Fixed(location) => location.directory.effective_uid(),
            _ => rustix::process::geteuid().as_raw(),
        }
    }

    /// Refuses all but a regular file of this user or of root that is private to its owner, as far as
    /// the rules ask for that.
    pub(super) fn check(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        let (path, user) = (|| path.to_path_buf(), self.user());
        self.rules.check(stat, user).map_err(|fault| match fault {
            RuleFault::Kind(kind) => FileError::NotRegular { path: path(), kind }.into(),
            RuleFault::Owner(owner) => KeyFileError::Owner { path: path(), owner, user },
            RuleFault::Mode(mode) => KeyFileError::Permissions { path: path(), mode },
        })
    }

    /// Refuses a file that was just created unless its owner can use it and it is empty.
    pub(super) fn check_new(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        self.check(stat, path)?;
        if stat.mode & OWNER != OWNER {
            return Err(KeyFileError::Umask { path: path.to_path_buf(), mode: stat.mode });
        }
        if stat.len != 0 {
            return Err(FileError::Changed { path: path.to_path_buf() }.into());
        }
        Ok(())
    }

    /// Refuses a key file that [`check`](Self::check) refuses, or that is too long.
    pub(super) fn check_key_file(&self, stat: &FileStat) -> Result<(), KeyFileError> {
        self.check(stat, self.path())?;
        self.check_len(stat.len)
    }

    pub(super) fn check_len(&self, len: u64) -> Result<(), KeyFileError> {
        if len > MAX_KEY_FILE_LEN { Err(self.too_large(len)) } else { Ok(()) }
    }

    pub(super) fn too_large(&self, len: u64) -> KeyFileError {
        let path = self.path().to_path_buf();
        KeyFileError::TooLarge { path, len, most: MAX_KEY_FILE_LEN }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).finish_non_exhaustive()
    }
}
