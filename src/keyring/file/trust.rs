//! What can still be promised of a file, given the syncs that failed.

use super::check::refused;
use super::error::KeyFileError;
use crate::fs::{self, Directory, FileAction};
use crate::sync::lock;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Which syncs have not yet failed. Only ever sinks.
#[derive(Default)]
pub(crate) struct Trust {
    // Held across each sync of the directory: two threads share its descriptor, and the kernel
    // tells an error to one of them only.
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// None has.
    #[default]
    Full,
    /// One of a file has: nothing is written any more.
    ReadOnly,
    /// One of the directory has: nothing that is read could be promised to last.
    Nothing,
}

impl Trust {
    /// Refuses after any failed sync.
    pub(crate) fn demand_writing(&self, path: &Path) -> Result<(), KeyFileError> {
        demand(*self.level(), Level::Full, path)
    }

    /// Refuses after a failed sync of the directory.
    pub(crate) fn demand_reading(&self, path: &Path) -> Result<(), KeyFileError> {
        demand(*self.level(), Level::ReadOnly, path)
    }

    /// A sync of a file failed.
    pub(crate) fn end_writing(&self) {
        let mut level = self.level();
        *level = (*level).max(Level::ReadOnly);
    }

    /// It is not known what the directory holds.
    pub(crate) fn end_reading(&self) {
        *self.level() = Level::Nothing;
    }

    /// Syncs the directory, for what somebody else renamed; see [`Store::load`].
    ///
    /// [`Store::load`]: super::store::Store::load
    pub(crate) fn sync_for_reader(
        &self,
        directory: &dyn Directory,
        path: &Path,
    ) -> Result<(), KeyFileError> {
        let mut level = self.level();
        demand(*level, Level::ReadOnly, path)?;
        match directory.sync() {
            Err(error) if !is_unsupported(&error) => {
                *level = Level::Nothing;
                Err(refused(FileAction::SyncDirectory, directory.path())(error))
            }
            _ => Ok(()),
        }
    }

    /// Syncs the directory, for what this process renamed. A file system that cannot is no place
    /// to write a key file.
    pub(crate) fn sync_for_writer(&self, directory: &dyn Directory) -> io::Result<()> {
        let mut level = self.level();
        if *level > Level::ReadOnly {
            return Err(io::Error::other("a sync of the directory failed earlier"));
        }
        directory.sync().inspect_err(|_| *level = Level::Nothing)
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        lock(&self.level)
    }
}

fn demand(level: Level, most: Level, path: &Path) -> Result<(), KeyFileError> {
    if level > most {
        return Err(KeyFileError::Poisoned { path: path.to_path_buf() });
    }
    Ok(())
}

/// Whether the answer to a sync says that there is no such thing for directories there.
fn is_unsupported(error: &io::Error) -> bool {
    fs::is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::BADF)
}
