//! The lock that makes one writer of many.

use super::check::{Rules, check_links, open_refused, refused};
use super::error::KeyFileError;
use crate::fs::{Directory, DirectoryFile, FileAction, uninterrupted};
use alloc::boxed::Box;
use core::time::Duration;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The name of the lock file.
pub(crate) fn lock_name(name: &OsStr) -> OsString {
    let mut lock = name.to_os_string();
    lock.push(".lock");
    lock
}

/// The lock, given back on drop.
pub(crate) struct Lock {
    file: Box<dyn DirectoryFile>,
}

impl Lock {
    /// Takes the lock of the file `name`, or waits for at most `wait`.
    pub(crate) fn acquire(
        directory: &dyn Directory,
        name: &OsStr,
        rules: &Rules,
        wait: Duration,
    ) -> Result<Self, KeyFileError> {
        let name = lock_name(name);
        let path = directory.path().join(&name);
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(lock) = attempt(directory, &name, rules, &path)? {
                return Ok(lock);
            }
            let waited = started.elapsed();
            let Some(left) = wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(KeyFileError::Locked { path, waited });
            };
            thread::sleep(pause.min(left));
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }
}

/// Opens the lock file and takes its lock; `None` if another has it.
fn attempt(
    directory: &dyn Directory,
    name: &OsStr,
    rules: &Rules,
    path: &Path,
) -> Result<Option<Lock>, KeyFileError> {
    let file = uninterrupted(|| directory.open_lock(name))
        .map_err(open_refused(FileAction::OpenLock, path))?;
    let opened = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
    rules.check(&opened, path)?;
    check_links(&opened, 0, path)?;
    match uninterrupted(|| file.try_lock()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(refused(FileAction::Lock, path)(error)),
    }
    let lock = Lock { file };
    // Somebody may have removed the file between open and lock; then the next writer makes a new
    // one, and both would think themselves alone.
    match uninterrupted(|| directory.stat(name)) {
        Ok(named) => Ok(named.is_same_file(&opened).then_some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(FileAction::Inspect, path)(error)),
    }
}

impl Lock {
    /// Whether the lock file of `name` is still the one that is locked: whoever removes it lets
    /// another writer in.
    pub(crate) fn is_named(
        &self,
        directory: &dyn Directory,
        name: &OsStr,
    ) -> Result<bool, KeyFileError> {
        let name = lock_name(name);
        let path = directory.path().join(&name);
        let held =
            uninterrupted(|| self.file.stat()).map_err(refused(FileAction::Inspect, &path))?;
        match uninterrupted(|| directory.stat(&name)) {
            Ok(named) => Ok(named.is_same_file(&held)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(refused(FileAction::Inspect, &path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The close that follows releases it too, unless a child process that was forked a moment
        // ago holds a copy of the descriptor still.
        drop(self.file.unlock());
    }
}
