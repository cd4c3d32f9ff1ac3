//! The one writer of a file: its lock file, and the replacement of the file as a whole. The name of
//! the file always stands for the old content or the new.

use super::read::{Fingerprint, Loaded};
use super::store::Store;
use crate::fs::{
    Access, DirectoryFile, FileAction, FileError, FileKind, FileLock, Location, TempFile,
    TempNames, failed, kind_in_the_way, open_failed, stat_of, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::io;

/// How often a lock file that others create and remove is opened and created.
const OPEN_ATTEMPTS: usize = 4;

/// The only writer of a file, until it is dropped.
///
/// It writes a temporary file in the same directory, syncs it, renames it over the file and syncs
/// the directory. So every error but [`FileError::NotDurable`] leaves the old content in place.
/// Owner, group, mode and access control list stay as they were; where the process may not set
/// them, nothing is replaced.
pub struct Writer<'a> {
    store: &'a Store,
    /// Where the path led when the lock was taken.
    location: Arc<Location>,
    lock: FileLock,
    /// The content that the change starts from, once it is known.
    basis: Option<Fingerprint>,
}

impl<'a> Writer<'a> {
    /// Locks the lock file of `location`, or waits for at most `wait`.
    pub(super) fn lock(
        store: &'a Store,
        location: Arc<Location>,
        wait: Duration,
    ) -> Result<Self, KeyFileError> {
        let lock_file = location.sibling(lock_name(&location.name));
        let mut is_new = false;
        let locked = FileLock::acquire(&lock_file, wait, || {
            let file;
            (file, is_new) = open_lock_file(store, &location, &lock_file)?;
            let stat = stat_of(&*file, &lock_file.path)?;
            store.check(&stat, &lock_file.path)?;
            Ok((file, stat))
        });
        if is_new && matches!(locked, Err(KeyFileError::File(FileError::NoLocks { .. }))) {
            // No process can have locked it.
            drop(lock_file.remove());
        }
        Ok(Writer { store, location, lock: locked?, basis: None })
    }

    /// Reads the file, which no other writer replaces before this one is dropped. If a process that
    /// does not use the lock replaces it, [`replace`](Self::replace) refuses.
    ///
    /// # Errors
    ///
    /// Those of [`Store::load`].
    pub fn load(&mut self) -> Result<Loaded, KeyFileError> {
        let loaded = self.store.load_at(&self.location)?;
        self.basis = Some(loaded.fingerprint());
        Ok(loaded)
    }

    /// Writes a new file.
    ///
    /// # Errors
    ///
    /// [`FileError::Exists`] if anything has its name; else those of [`replace`](Self::replace).
    pub fn create(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        if self.store.exists()? {
            return Err(FileError::Exists { path: self.store.path().to_path_buf() }.into());
        }
        // Where the directory cannot be synced, nothing is written.
        self.store.sync_state.sync_for_reader(&self.location, None)?;
        self.write(bytes, None)
    }

    /// Replaces the old content.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`]; the errors of [`Store::load`] for the file that is there;
    /// [`KeyFileError::TooLarge`]; [`FileError::Io`]; [`KeyFileError::Poisoned`];
    /// [`FileError::Changed`] if the file is not the one that was loaded, or the lock file was
    /// removed. After all of them the old content is in place. [`FileError::NotDurable`]: it is not,
    /// or that is unknown.
    pub fn replace(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        let stat = self.location.existing()?;
        self.store.check_key_file(&stat)?;
        let basis = *self.basis.get_or_insert(Fingerprint::of(&stat));
        self.write(bytes, Some(basis))
    }

    /// Writes `bytes` in the place of the content `basis`, or of none.
    fn write(&mut self, bytes: &[u8], basis: Option<Fingerprint>) -> Result<(), KeyFileError> {
        let (store, location) = (self.store, self.location.clone());
        store.check_len(bytes.len() as u64)?;
        store.sync_state.check_writable(&location)?;
        let access = if basis.is_some() { Some(self.access()?) } else { None };
        let names = temporary_names(&location);
        // The lock says that no living writer needs them. Files of other kinds were not written here.
        names.remove_leftovers(&*location.directory, |stat| stat.kind == FileKind::Regular);
        let mut file = TempFile::named(&location, &names)?;
        self.fill(&mut file, bytes, access.as_ref())?;
        self.check_basis(basis)?;
        let renamed = match basis {
            None => file.publish(true),
            Some(_) => file.replace(),
        };
        if matches!(renamed, Err(FileError::NotDurable { .. })) {
            store.sync_state.poison();
        }
        renamed?;
        self.basis = None;
        Ok(store.sync_state.sync_for_writer(&location)?)
    }

    /// Returns the access rights of the file that is there.
    fn access(&self) -> Result<Access, KeyFileError> {
        let file = self.location.open()?;
        Ok(Access::of(&*file).map_err(failed(FileAction::Inspect, self.store.path()))?)
    }

    /// Writes and syncs the temporary file.
    fn fill(
        &self,
        file: &mut TempFile<'_>,
        bytes: &[u8],
        access: Option<&Access>,
    ) -> Result<(), KeyFileError> {
        let stat = stat_of(file.file(), file.path())?;
        self.store.check_new(&stat, file.path())?;
        if let Some(access) = access {
            let now = Access::of(file.file()).map_err(failed(FileAction::Inspect, file.path()))?;
            let given = access.give_to(file.file(), &now);
            given.map_err(failed(FileAction::SetOwner, file.path()))?;
        }
        file.write(bytes)?;
        Ok(file.sync()?)
    }

    /// Refuses if a process changed the file without the lock: a lock file that was removed, a file
    /// system whose locks do not reach every host, or a link that leads to another file.
    fn check_basis(&self, basis: Option<Fingerprint>) -> Result<(), KeyFileError> {
        let store = self.store;
        let is_same = self.lock.is_current()?
            && match basis {
                None => true,
                Some(basis) => store.fingerprint()?.is_same_content(&basis),
            };
        if !is_same {
            return Err(FileError::Changed { path: store.path().to_path_buf() }.into());
        }
        Ok(())
    }
}

/// Temporary files are `.<name>.<16 hexadecimal digits>.tmp`.
fn temporary_names(location: &Location) -> TempNames {
    let mut before = OsString::from(".");
    before.push(&location.name);
    before.push(".");
    TempNames::new(before, ".tmp")
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.store.path()).finish_non_exhaustive()
    }
}

/// Returns the name of the lock file.
pub(super) fn lock_name(name: &OsStr) -> OsString {
    let mut lock = name.to_os_string();
    lock.push(".lock");
    lock
}

/// Opens the lock file, or creates it, and reports whether it was created.
fn open_lock_file(
    store: &Store,
    keys: &Location,
    location: &Location,
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
                give_to_owner(store, keys, &*file, location)?;
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
    store: &Store,
    keys: &Location,
    lock: &dyn DirectoryFile,
    Location { path, .. }: &Location,
) -> Result<(), KeyFileError> {
    let keys = match uninterrupted(|| keys.directory.open(&keys.name)) {
        Ok(keys) => keys,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // The next read reports its kind.
        Err(error) if kind_in_the_way(&error).is_some() => return Ok(()),
        Err(error) => return Err(failed(FileAction::Open, &keys.path)(error).into()),
    };
    let stat = stat_of(&*keys, path)?;
    if store.check(&stat, path).is_err() {
        return Ok(());
    }
    let access = |file| Access::of(file).map_err(failed(FileAction::Inspect, path));
    drop(access(&*keys)?.for_lock().give_to(lock, &access(lock)?));
    Ok(())
}
