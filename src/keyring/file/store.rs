//! One file of bytes, read so that what was read cannot vanish in a crash.

use super::check::{Rules, check_links, refused};
use super::error::KeyFileError;
use super::lock::Lock;
use super::read::Loaded;
use super::stamp::Stamp;
use super::trust::Trust;
use super::writer::Writer;
use crate::fs::{Directory, FileAction, FileStat, OsDirectory, PathFault, uninterrupted};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most bytes that a key file may have: 64 MiB.
pub const MAX_KEY_FILE_LEN: u64 = 64 << 20;

/// The longest name: `.<name>.<16 hexadecimal digits>.tmp` must be a name too, of at most 255.
const MAX_NAME_LEN: usize = 255 - 22;

/// How often a file that changes under the reader is read before the reader gives up.
const READ_ATTEMPTS: usize = 4;

/// One file in a [`Directory`], replaced as a whole and durably.
///
/// A store can be used from many threads. Two stores of one file, in one process or in several,
/// exclude each other as writers and never disturb each other's readers.
///
/// # After a failed sync
///
/// The kernel forgets what it could not write, and a second `fsync` can answer success for it.
/// So no sync is ever tried again: once one has failed, the store refuses to write, and if it was
/// that of the directory, to read too ([`KeyFileError::Poisoned`]).
pub struct Store {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) name: OsString,
    path: PathBuf,
    allow_permissions: bool,
    pub(crate) trust: Trust,
}

impl Store {
    /// A store of the file `path`, which need not exist; its directory must.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::FileName`] if the path does not end in the name of a file,
    /// [`KeyFileError::Io`] if the directory cannot be opened.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let (directory, name) = OsDirectory::of_file(path).map_err(|fault| match fault {
            PathFault::Name => KeyFileError::FileName { path: path.to_path_buf() },
            PathFault::Directory { path, error } => {
                refused(FileAction::OpenDirectory, &path)(error)
            }
        })?;
        Store::in_directory(Arc::new(directory), &name)
    }

    /// A store of the file `name` in `directory`.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::FileName`] if `name` is not a plain name of at most 233 bytes.
    pub fn in_directory(directory: Arc<dyn Directory>, name: &OsStr) -> Result<Self, KeyFileError> {
        let path = directory.path().join(name);
        let bytes = name.as_bytes();
        let is_plain = !matches!(bytes, b"" | b"." | b"..")
            && bytes.len() <= MAX_NAME_LEN
            && !bytes.iter().any(|&byte| byte == b'/' || byte == 0);
        if !is_plain {
            return Err(KeyFileError::FileName { path });
        }
        let name = name.to_os_string();
        Ok(Store { directory, name, path, allow_permissions: false, trust: Trust::default() })
    }

    /// Accepts files on which others than the owner have rights. A file that this store makes has
    /// mode 0600, and one that it replaces keeps its own.
    ///
    /// For media that keep no modes, and for platforms that hand out files by group. Whoever may
    /// read the file has what its protection leaves to read; whoever may write it can at least
    /// destroy it.
    #[must_use]
    pub fn allow_permissions(mut self) -> Self {
        self.allow_permissions = true;
        self
    }

    /// The path of the file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file.
    ///
    /// Never sees a half-written file, and does not wait for writers. What it returns survives a
    /// power failure: another process can have renamed the file into place a moment ago without
    /// its directory being on the medium yet, and who wraps under a version from that file would
    /// lose the messages with it. So the directory is synced here too, **after** the file was
    /// opened: a sync before says nothing of a rename in between. Where nothing is pending this
    /// costs no writing.
    ///
    /// A file system that cannot sync directories at all (`EINVAL`, `EBADF`, `ENOTSUP`, `ENOSYS`:
    /// ISO 9660, squashfs, some network ones) has nothing pending that a sync could reach; that is
    /// taken for success. `EROFS` is not: a medium mounted for reading answers success, and ext4
    /// says `EROFS` when it stopped after an error with changes still in memory.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NotFound`]; what is wrong with kind, owner, permissions, links or length of
    /// the file; [`KeyFileError::Changing`]; [`KeyFileError::Io`]; [`KeyFileError::Poisoned`].
    pub fn load(&self) -> Result<Loaded, KeyFileError> {
        self.trust.demand_reading(&self.path)?;
        for _ in 0..READ_ATTEMPTS {
            if let Some(loaded) = self.read()? {
                self.trust.sync_for_reader(&*self.directory, &self.path)?;
                return Ok(loaded);
            }
        }
        Err(KeyFileError::Changing { path: self.path.clone() })
    }

    /// Refuses once the path leads to another directory than the one that is held open: what is
    /// read and written here is then no longer what others see under that path.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Moved`], [`KeyFileError::Io`].
    pub fn check_place(&self) -> Result<(), KeyFileError> {
        let path = self.directory.path();
        match uninterrupted(|| self.directory.is_moved()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(KeyFileError::Moved { path: path.to_path_buf() }),
            Err(error) => Err(refused(FileAction::OpenDirectory, path)(error)),
        }
    }

    /// What tells whether the file is still the one that was loaded: one `stat`.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NotFound`], [`KeyFileError::Io`].
    pub fn stamp(&self) -> Result<Stamp, KeyFileError> {
        Ok(Stamp::of(&self.stat()?))
    }

    /// Waits for at most `wait` until no other writer is at work, and becomes the one.
    ///
    /// The lock is `flock` on `<name>.lock`, a file that is never written nor removed. The kernel
    /// releases it when its holder dies, however that happens. It excludes threads as it does
    /// processes; a thread that locks twice waits for itself. It is tried anew after 1, 2, 4 ms
    /// and so on up to 20 ms; among many writers none is preferred.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Locked`] if the time is over; what is wrong with kind, owner, permissions
    /// or links of the lock file; [`KeyFileError::Io`]; [`KeyFileError::Poisoned`].
    pub fn lock(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        self.trust.demand_writing(&self.path)?;
        let lock = Lock::acquire(&*self.directory, &self.name, &self.rules(), wait)?;
        // Whoever held the lock until now can have been a thread whose sync failed.
        self.trust.demand_writing(&self.path)?;
        Ok(Writer::new(self, lock))
    }

    /// The path of the lock file.
    #[cfg(any(test, feature = "test-util"))]
    pub fn lock_path(&self) -> PathBuf {
        self.directory.path().join(super::lock::lock_name(&self.name))
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { user: self.directory.effective_uid(), allow_permissions: self.allow_permissions }
    }

    /// What the name stands for, unchecked.
    pub(crate) fn stat(&self) -> Result<FileStat, KeyFileError> {
        match uninterrupted(|| self.directory.stat(&self.name)) {
            Ok(stat) => Ok(stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(KeyFileError::NotFound { path: self.path.clone() })
            }
            Err(error) => Err(refused(FileAction::Inspect, &self.path)(error)),
        }
    }

    /// Refuses what is not a private regular file of one name.
    pub(crate) fn check(&self, stat: &FileStat) -> Result<(), KeyFileError> {
        self.rules().check(stat, &self.path)?;
        // A crash can undo one half of a rename, so that the temporary name stands for the file
        // too. That takes nothing from anybody, and the next writer removes it.
        let known = if stat.links > 1 { self.leftovers_of(stat) } else { 0 };
        check_links(stat, known, &self.path)?;
        self.check_len(stat.len)
    }

    pub(crate) fn check_len(&self, len: u64) -> Result<(), KeyFileError> {
        if len > MAX_KEY_FILE_LEN {
            let path = self.path.clone();
            return Err(KeyFileError::TooLarge { path, len, most: MAX_KEY_FILE_LEN });
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
