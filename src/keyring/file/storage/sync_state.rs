//! Which syncs of the directory failed, and what can still be read or written.

use crate::fs::{self, DirectoryFile, FileAction, FileError, Location, failed};
use crate::keyring::file::error::KeyFileError;
use crate::sync::lock;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// What the syncs of the directory allow.
#[derive(Default)]
pub(super) struct SyncState {
    // Locked during each sync of the directory: two threads share its descriptor, and the kernel
    // reports an error to one of them only.
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Level {
    /// Every sync succeeded.
    #[default]
    Full,
    /// The directory cannot be synced: nothing is pending that a sync could write, and what this
    /// process wrote might be lost.
    ReadOnly,
    /// A sync failed: what is read may be lost in a crash.
    Poisoned,
}

impl SyncState {
    /// Refuses after a failed sync of the directory.
    pub(super) fn check_readable(&self, path: &Path) -> Result<(), KeyFileError> {
        check(*self.level(), path)
    }

    /// Refuses after a failed sync, and where directories cannot be synced at all.
    pub(super) fn check_writable(&self, location: &Location) -> Result<(), KeyFileError> {
        let level = *self.level();
        check(level, &location.path)?;
        if level == Level::ReadOnly {
            return Err(directory_failed(location, io::ErrorKind::Unsupported.into()));
        }
        Ok(())
    }

    /// Records that the content of the directory is unknown.
    pub(super) fn poison(&self) {
        *self.level() = Level::Poisoned;
    }

    /// Takes over the state of a store that opened the same file again.
    pub(super) fn reset_to(&self, opened: &SyncState) {
        let level = *opened.level();
        *self.level() = level;
    }

    /// Syncs the directory for a rename by another process, of `file` for example; see
    /// [`Store::load`](super::Store::load).
    pub(super) fn sync_for_reader(
        &self,
        location: &Location,
        file: Option<&dyn DirectoryFile>,
    ) -> Result<(), KeyFileError> {
        let mut level = self.level();
        check(*level, &location.path)?;
        let error = match location.directory.sync() {
            Ok(()) => {
                // A link on the path can lead to another directory by now, which can be synced.
                *level = Level::Full;
                return Ok(());
            }
            Err(error) => error,
        };
        let error = match file {
            // A directory that can be searched and not read.
            Some(file) if error.kind() == io::ErrorKind::PermissionDenied => {
                match file.sync_file_system() {
                    Ok(()) => {
                        *level = Level::ReadOnly;
                        return Ok(());
                    }
                    Err(other) if other.kind() == io::ErrorKind::Unsupported => error,
                    Err(other) => other,
                }
            }
            _ => error,
        };
        if is_unsupported(&error) {
            *level = Level::ReadOnly;
            return Ok(());
        }
        *level = Level::Poisoned;
        Err(directory_failed(location, error))
    }

    /// Syncs the directory for a rename by this process.
    pub(super) fn sync_for_writer(&self, location: &Location) -> Result<(), FileError> {
        let mut level = self.level();
        let synced = match *level {
            Level::Poisoned => Err(io::Error::other("a sync of the directory failed earlier")),
            _ => location.directory.sync(),
        };
        synced.inspect_err(|_| *level = Level::Poisoned).map_err(fs::not_durable(&location.path))
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        lock(&self.level)
    }
}

fn check(level: Level, path: &Path) -> Result<(), KeyFileError> {
    if level == Level::Poisoned {
        return Err(KeyFileError::Poisoned { path: path.to_path_buf() });
    }
    Ok(())
}

fn directory_failed(location: &Location, error: io::Error) -> KeyFileError {
    failed(FileAction::SyncDirectory, location.directory.path())(error).into()
}

/// Reports whether `error` means that directories cannot be synced there.
fn is_unsupported(error: &io::Error) -> bool {
    fs::is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::BADF)
}
