//! What can still be promised of a file, given the syncs that failed.

use super::location::Place;
use super::permissions::refused;
use crate::fs::{self, DirectoryFile, FileAction};
use crate::keyring::file::error::KeyFileError;
use crate::sync::lock;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Whether each sync of the directory has succeeded. Only ever sinks.
#[derive(Default)]
pub(crate) struct SyncState {
    // Held across each sync of the directory: two threads share its descriptor, and the kernel
    // tells an error to one of them only.
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// It has.
    #[default]
    Full,
    /// The directory cannot be synced there: nothing is pending that a sync could reach, and
    /// nothing is written that one could not make last.
    ReadOnly,
    /// One failed: nothing that is read could be promised to last.
    Nothing,
}

impl SyncState {
    /// Refuses after a failed sync of the directory.
    pub(crate) fn demand(&self, path: &Path) -> Result<(), KeyFileError> {
        demand(*self.level(), path)
    }

    /// Refuses after a failed sync, and where directories cannot be synced at all, before anything
    /// is written that could be lost.
    pub(crate) fn demand_writing(&self, place: &Place) -> Result<(), KeyFileError> {
        let level = *self.level();
        demand(level, &place.path)?;
        if level == Level::ReadOnly {
            let error = io::Error::from(io::ErrorKind::Unsupported);
            return Err(refused(FileAction::SyncDirectory, place.directory.path())(error));
        }
        Ok(())
    }

    /// It is not known what the directory holds.
    pub(crate) fn end(&self) {
        *self.level() = Level::Nothing;
    }

    /// Forgets what failed: the file was opened anew, and that came to `opened`.
    pub(crate) fn begin_anew(&self, opened: &SyncState) {
        let level = *opened.level();
        *self.level() = level;
    }

    /// Syncs the directory for what somebody else renamed, `file` among it; see [`Store::load`].
    ///
    /// [`Store::load`]: super::store::Store::load
    pub(crate) fn sync_for_reader(
        &self,
        place: &Place,
        file: Option<&dyn DirectoryFile>,
    ) -> Result<(), KeyFileError> {
        let mut level = self.level();
        demand(*level, &place.path)?;
        let error = match place.directory.sync() {
            Ok(()) => {
                // A link can have been turned to a directory that can be synced.
                *level = Level::Full;
                return Ok(());
            }
            Err(error) => error,
        };
        let error = match file {
            // A directory that may be searched and not read.
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
        *level = Level::Nothing;
        Err(refused(FileAction::SyncDirectory, place.directory.path())(error))
    }

    /// Syncs the directory, for what this process renamed.
    pub(crate) fn sync_for_writer(&self, place: &Place) -> io::Result<()> {
        let mut level = self.level();
        if *level == Level::Nothing {
            return Err(io::Error::other("a sync of the directory failed earlier"));
        }
        place.directory.sync().inspect_err(|_| *level = Level::Nothing)
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        lock(&self.level)
    }
}

fn demand(level: Level, path: &Path) -> Result<(), KeyFileError> {
    if level == Level::Nothing {
        return Err(KeyFileError::Poisoned { path: path.to_path_buf() });
    }
    Ok(())
}

/// Whether the answer to a sync says that there is no such thing for directories there.
fn is_unsupported(error: &io::Error) -> bool {
    fs::is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::BADF)
}
