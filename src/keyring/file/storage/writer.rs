//! Replacing a file as a whole: its name always stands for the old content or the new.

use super::fingerprint::Fingerprint;
use super::read::Loaded;
use super::store::Store;
use crate::fs::{
    Access, FileAction, FileError, FileKind, FileLock, Location, TempFile, TempNames, failed,
    stat_of,
};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use core::fmt;
use std::ffi::OsString;

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
    pub(super) fn new(store: &'a Store, location: Arc<Location>, lock: FileLock) -> Self {
        Writer { store, location, lock, basis: None }
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
        self.store.check(&stat)?;
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
        // The lock says that no living writer needs them. What is no regular file was not written here.
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
        self.store.checks().check_new(&stat, file.path())?;
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
