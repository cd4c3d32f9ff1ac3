//! The message file, locked: of all who heed the lock, one changes it at a time.

use super::error::{MessageFileError, open_refused, refused};
use super::paths::{MessagePaths, Name, stat_regular};
use crate::fs::{DirectoryFile, FileAction, FileStat, is_unsupported, uninterrupted};
use alloc::boxed::Box;
use core::time::Duration;
use rustix::io::Errno;
use std::thread;
use std::time::Instant;

/// How long another writer is waited for.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How often in a row a file can be replaced between its opening and its lock. That takes
/// microseconds, so that more often it is the number of the file that changes.
const MOST_REPLACED: u32 = 8;

/// A file under its own lock, given back on drop. The kernel gives it back when the process dies.
pub(super) struct Locked {
    pub(super) file: Box<dyn DirectoryFile>,
    pub(super) stat: FileStat,
}

impl Locked {
    /// Opens and locks the message.
    pub(super) fn message(place: &MessagePaths, wait: Duration) -> Result<Self, MessageFileError> {
        let Name { name, path } = &place.message;
        let mut replaced: u32 = 0;
        until_unlocked(path, wait, || {
            let file =
                uninterrupted(|| place.directory.open_write(name)).map_err(open_refused(path))?;
            // Before the lock: what is no file of ours is not locked either.
            stat_regular(&*file, path)?;
            match uninterrupted(|| file.try_lock()) {
                Ok(()) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::WOULDBLOCK) => {
                    // Others are at work, and what was replaced was by them.
                    replaced = 0;
                    return Ok(None);
                }
                Err(error) if is_unsupported(&error) => {
                    return Err(MessageFileError::NoLocks { path: path.clone() });
                }
                Err(error) => return Err(refused(FileAction::Lock, path)(error)),
            }
            let stat = stat_regular(&*file, path)?;
            let locked = Locked { file, stat };
            if place.is_named(&place.message, &locked.stat)? {
                return Ok(Some(locked));
            }
            // A whole new file took its place, and that is the one to lock.
            replaced = replaced.saturating_add(1);
            if replaced < MOST_REPLACED {
                return Ok(None);
            }
            Err(MessageFileError::NoIdentity { path: path.clone() })
        })
    }
}

impl Locked {
    /// Opens and locks what is to be replaced, if there is anything; without the lock where the file
    /// system has none, and so no rewrap that would be lost.
    pub(super) fn replaced(place: &MessagePaths) -> Result<Option<Self>, MessageFileError> {
        let found = match Locked::message(place, WAIT) {
            Err(MessageFileError::NoLocks { .. }) => {
                place.open().map(|(file, stat)| Locked { file, stat })
            }
            found => found,
        };
        match found {
            Err(MessageFileError::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // The close that follows releases it too, unless a child process that was forked a moment
        // ago holds a copy of the descriptor still.
        drop(self.file.unlock());
    }
}

/// Tries again until there is something, for at most `wait`.
fn until_unlocked<T>(
    path: &std::path::Path,
    wait: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, MessageFileError>,
) -> Result<T, MessageFileError> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        let waited = started.elapsed();
        let Some(left) = wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(MessageFileError::Locked { path: path.to_path_buf(), waited });
        };
        thread::sleep(pause.min(left));
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}
