//! An exclusive lock (`flock`) of the file that has a name, with back-off.

use super::call::{is_unsupported, uninterrupted};
use super::directory::{DirectoryFile, FileStat};
use super::error::{FileAction, FileError, failed};
use super::location::Location;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;
use rustix::io::Errno;
use std::thread;
use std::time::Instant;

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How often in a row the file can lose its name between open and lock. A replacement takes
/// microseconds, so that more often the file system changes inode numbers.
const MOST_MOVED: u32 = 8;

/// A locked file. Dropping it releases the lock, and the kernel does when the process dies.
pub(crate) struct FileLock {
    pub(crate) file: Box<dyn DirectoryFile>,
    pub(crate) stat: FileStat,
    location: Location,
}

impl FileLock {
    /// Opens the file at `location` by `open`, which also checks it, and locks it. Waits for at most
    /// `wait` for another writer.
    ///
    /// # Errors
    ///
    /// Those of `open`; [`FileError::Locked`], [`FileError::NoLocks`],
    /// [`FileError::UnstableIdentity`], [`FileError::Io`].
    pub(crate) fn acquire<E: From<FileError>>(
        location: &Location,
        wait: Duration,
        mut open: impl FnMut() -> Result<(Box<dyn DirectoryFile>, FileStat), E>,
    ) -> Result<Self, E> {
        let path = || location.path.clone();
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut moved = 1..MOST_MOVED;
        loop {
            let (file, stat) = open()?;
            match uninterrupted(|| file.try_lock()) {
                Ok(()) => {
                    let lock = FileLock { file, stat, location: location.clone() };
                    // Between open and lock the file can lose its name: then the next writer locks
                    // another file, and both would be alone.
                    if lock.is_current()? {
                        return Ok(lock);
                    }
                    if moved.next().is_none() {
                        return Err(FileError::UnstableIdentity { path: path() }.into());
                    }
                }
                // Other writers are active, and may have replaced the file.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::WOULDBLOCK) => {
                    moved = 1..MOST_MOVED;
                }
                Err(error) if has_no_locks(&error) => {
                    let source = Arc::new(error);
                    return Err(FileError::NoLocks { path: path(), source }.into());
                }
                Err(error) => return Err(failed(FileAction::Lock, &location.path)(error).into()),
            }
            let waited = started.elapsed();
            let Some(left) = wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(FileError::Locked { path: path(), waited }.into());
            };
            thread::sleep(pause.min(left));
            // Saturates: `LONGEST_PAUSE` is the limit.
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Returns an open file of a file system without locks, for a caller that needs none.
    pub(crate) fn without_lock(
        location: &Location,
        file: Box<dyn DirectoryFile>,
        stat: FileStat,
    ) -> Self {
        FileLock { file, stat, location: location.clone() }
    }

    /// Reports whether the name still belongs to the locked file.
    pub(crate) fn is_current(&self) -> Result<bool, FileError> {
        self.location.is_name_of(&self.stat)
    }
}

/// Reports whether `error` means that the file system has no locks.
fn has_no_locks(error: &std::io::Error) -> bool {
    is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::NOLCK)
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The close that follows releases it too, unless a child process that was just forked has a
        // copy of the descriptor.
        drop(self.file.unlock());
    }
}
