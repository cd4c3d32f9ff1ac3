//! The lock that makes one writer of many.

use super::location::Place;
use super::permissions::{Checks, open_refused, refused};
use crate::fs::{
    Access, DirectoryFile, FileAction, is_unsupported, kind_in_the_way, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::boxed::Box;
use alloc::sync::Arc;
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

/// How often in a row the lock may be of a file that lost its name, until the file system is
/// blamed.
const MOST_RENAMED: u32 = 16;

/// How often a lock file that comes and goes is opened and made.
const OPEN_ATTEMPTS: usize = 4;

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
        place: &Place,
        checks: &Checks,
        wait: Duration,
    ) -> Result<Self, KeyFileError> {
        let name = lock_name(&place.name);
        let path = place.beside(&name);
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut renamed: u32 = 0;
        loop {
            match attempt(place, &name, checks, &path)? {
                Attempt::Locked(lock) => return Ok(lock),
                Attempt::Taken => renamed = 0,
                Attempt::Renamed => renamed = renamed.saturating_add(1),
            }
            if renamed > MOST_RENAMED {
                return Err(KeyFileError::UnstableIdentity { path });
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

/// What comes of an attempt.
enum Attempt {
    Locked(Lock),
    /// Another has it.
    Taken,
    /// It was taken of a file that does not have the name any more.
    Renamed,
}

/// Opens the lock file and takes its lock.
fn attempt(
    place: &Place,
    name: &OsStr,
    checks: &Checks,
    path: &Path,
) -> Result<Attempt, KeyFileError> {
    let directory = &*place.directory;
    let (file, is_new) = open(place, name, checks, path)?;
    let opened = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
    checks.check(&opened, path)?;
    match uninterrupted(|| file.try_lock()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::WOULDBLOCK) => {
            return Ok(Attempt::Taken);
        }
        Err(error) if has_no_locks(&error) => {
            if is_new {
                // Nobody can hold a lock of it.
                drop(uninterrupted(|| directory.unlink(name)));
            }
            let (path, source) = (path.to_path_buf(), Arc::new(error));
            return Err(KeyFileError::NoLocks { path, source });
        }
        Err(error) => return Err(refused(FileAction::Lock, path)(error)),
    }
    let lock = Lock { file };
    // Somebody may have removed the file between open and lock; then the next writer makes a new
    // one, and both would think themselves alone.
    match uninterrupted(|| directory.stat(name)) {
        Ok(named) if named.is_same_file(&opened) => Ok(Attempt::Locked(lock)),
        Ok(_) => Ok(Attempt::Renamed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Attempt::Renamed),
        Err(error) => Err(refused(FileAction::Inspect, path)(error)),
    }
}

/// Opens the lock file, or makes it, and tells whether it was made.
fn open(
    place: &Place,
    name: &OsStr,
    checks: &Checks,
    path: &Path,
) -> Result<(Box<dyn DirectoryFile>, bool), KeyFileError> {
    let opened = || open_refused(FileAction::OpenLock, path);
    let mut attempts = OPEN_ATTEMPTS;
    loop {
        attempts = attempts.saturating_sub(1);
        match uninterrupted(|| place.directory.open_write(name)) {
            Ok(file) => return Ok((file, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(opened()(error)),
        }
        match uninterrupted(|| place.directory.open_lock(name)) {
            Ok(file) => {
                give_to_owner(place, &*file, checks, path)?;
                return Ok((file, true));
            }
            // Somebody else made it meanwhile: theirs is not given away.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {}
            Err(error) => return Err(opened()(error)),
        }
    }
}

/// Gives a new lock file to whoever writes the key file: root's tool is not to lock a service out.
/// Where that is not allowed, it stays its maker's.
fn give_to_owner(
    place: &Place,
    lock: &dyn DirectoryFile,
    checks: &Checks,
    path: &Path,
) -> Result<(), KeyFileError> {
    let keys = match uninterrupted(|| place.directory.open(&place.name)) {
        Ok(keys) => keys,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // What it is instead is told when it is read.
        Err(error) if kind_in_the_way(&error).is_some() => return Ok(()),
        Err(error) => return Err(refused(FileAction::Open, &place.path)(error)),
    };
    let inspected = || refused(FileAction::Inspect, path);
    let stat = uninterrupted(|| keys.stat()).map_err(inspected())?;
    if checks.check(&stat, path).is_err() {
        return Ok(());
    }
    let keys = Access::of(&*keys).map_err(inspected())?;
    let now = Access::of(lock).map_err(inspected())?;
    drop(keys.for_lock().give_to(lock, &now));
    Ok(())
}

/// Whether the answer to a lock says that there are none there.
fn has_no_locks(error: &io::Error) -> bool {
    is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::NOLCK)
}

impl Lock {
    /// Whether the lock file is still the one that is locked: whoever removes it lets another
    /// writer in.
    pub(crate) fn is_named(&self, place: &Place) -> Result<bool, KeyFileError> {
        let name = lock_name(&place.name);
        let path = place.beside(&name);
        let held =
            uninterrupted(|| self.file.stat()).map_err(refused(FileAction::Inspect, &path))?;
        match uninterrupted(|| place.directory.stat(&name)) {
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
