//! The lock file `<name>.lock`, by which one process at a time writes.

use super::permissions::Checks;
use crate::fs::{
    Access, DirectoryFile, FileAction, FileError, FileLock, Location, failed, kind_in_the_way,
    open_failed, stat_of, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::boxed::Box;
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::io;

/// How often a lock file that others create and remove is opened and created.
const OPEN_ATTEMPTS: usize = 4;

/// Returns the name of the lock file.
pub(super) fn lock_name(name: &OsStr) -> OsString {
    let mut lock = name.to_os_string();
    lock.push(".lock");
    lock
}

/// Locks the lock file of `keys`, or waits for at most `wait`.
pub(super) fn acquire(
    keys: &Location,
    checks: &Checks,
    wait: Duration,
) -> Result<FileLock, KeyFileError> {
    let location = keys.sibling(lock_name(&keys.name));
    let mut is_new = false;
    let locked = FileLock::acquire(&location, wait, || {
        let file;
        (file, is_new) = open(keys, &location, checks)?;
        let stat = stat_of(&*file, &location.path)?;
        checks.check(&stat, &location.path)?;
        Ok((file, stat))
    });
    if is_new && matches!(locked, Err(KeyFileError::File(FileError::NoLocks { .. }))) {
        // No process can have locked it.
        drop(location.remove());
    }
    locked
}

/// Opens the lock file, or creates it, and reports whether it was created.
fn open(
    keys: &Location,
    location: &Location,
    checks: &Checks,
) -> Result<(Box<dyn DirectoryFile>, bool), KeyFileError> {
    let Location { directory, name, path } = location;
    let opened = || open_failed(FileAction::OpenLock, path);
    let mut attempts = 1..OPEN_ATTEMPTS;
    loop {
        match uninterrupted(|| directory.open_write(name)) {
            Ok(file) => return Ok((file, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(opened()(error).into()),
        }
        match uninterrupted(|| directory.open_lock(name)) {
            Ok(file) => {
                give_to_owner(keys, &*file, location, checks)?;
                return Ok((file, true));
            }
            // Another process created it meanwhile: it gives it to the owner.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && attempts.next().is_some() => {}
            Err(error) => return Err(opened()(error).into()),
        }
    }
}

/// Gives a new lock file to the owner of the key file, so that a tool of root's does not lock a
/// service out. Where that is not allowed, it stays with its creator.
fn give_to_owner(
    keys: &Location,
    lock: &dyn DirectoryFile,
    Location { path, .. }: &Location,
    checks: &Checks,
) -> Result<(), KeyFileError> {
    let keys = match uninterrupted(|| keys.directory.open(&keys.name)) {
        Ok(keys) => keys,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // The next read reports its kind.
        Err(error) if kind_in_the_way(&error).is_some() => return Ok(()),
        Err(error) => return Err(failed(FileAction::Open, &keys.path)(error).into()),
    };
    let stat = stat_of(&*keys, path)?;
    if checks.check(&stat, path).is_err() {
        return Ok(());
    }
    let access = |file| Access::of(file).map_err(failed(FileAction::Inspect, path));
    drop(access(&*keys)?.for_lock().give_to(lock, &access(lock)?));
    Ok(())
}
