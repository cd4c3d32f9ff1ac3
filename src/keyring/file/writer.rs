//! Replacing a file as a whole: at every moment its name stands for the old content or the new.

use super::check::{open_refused, refused};
use super::error::KeyFileError;
use super::lock::Lock;
use super::read::Loaded;
use super::stamp::Stamp;
use super::store::Store;
use crate::fs::{Access, DirectoryFile, FileAction, FileKind, FileStat, rename_new, uninterrupted};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use rand_core::TryRng;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many random names are tried before `EEXIST` is believed.
const NAME_ATTEMPTS: usize = 4;

/// The name of a temporary file: `.<name>.<16 hexadecimal digits>.tmp`.
const SUFFIX: &[u8] = b".tmp";
const DIGITS: usize = 16;

/// The one writer of a file, until it is dropped.
///
/// What it writes goes to a temporary file beside, is synced, and takes the place of the file by a
/// rename, after which the directory is synced. So every error but
/// [`KeyFileError::NotDurable`] leaves the old content in place. Owner, group, mode and access
/// control list stay as they were; where the process may not set them, nothing is replaced.
pub struct Writer<'a> {
    store: &'a Store,
    lock: Lock,
    /// The content that the change is made to, once it is known.
    basis: Option<Stamp>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(store: &'a Store, lock: Lock) -> Self {
        Writer { store, lock, basis: None }
    }

    /// Reads the file, which no other writer replaces before this one is dropped. If somebody who
    /// does not heed the lock does so, [`replace`](Self::replace) refuses.
    ///
    /// # Errors
    ///
    /// Those of [`Store::load`].
    pub fn load(&mut self) -> Result<Loaded, KeyFileError> {
        let loaded = self.store.load()?;
        self.basis = Some(loaded.stamp());
        Ok(loaded)
    }

    /// Writes a new file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Exists`] if anything has its name; else those of
    /// [`replace`](Self::replace).
    pub fn create(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        match self.store.stat() {
            Ok(_) => Err(KeyFileError::Exists { path: self.store.path().to_path_buf() }),
            Err(KeyFileError::NotFound { .. }) => self.write(bytes, Place::Free),
            Err(error) => Err(error),
        }
    }

    /// Puts new content in the place of the old.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NotFound`]; what is wrong with the file that is there, as in
    /// [`Store::load`]; [`KeyFileError::TooLarge`]; [`KeyFileError::Io`];
    /// [`KeyFileError::Poisoned`]; [`KeyFileError::Changing`] if the file is no longer the one
    /// that was loaded, or the lock was taken away. After all of them the old content is in place.
    /// [`KeyFileError::NotDurable`]: it is not, or that is not known.
    pub fn replace(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        let stat = self.store.stat()?;
        self.store.check(&stat)?;
        let basis = *self.basis.get_or_insert(Stamp::of(&stat));
        self.write(bytes, Place::Of(basis))
    }

    fn write(&mut self, bytes: &[u8], place: Place) -> Result<(), KeyFileError> {
        let store = self.store;
        store.check_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        store.trust.demand_writing(store.path())?;
        let access = match place {
            Place::Free => None,
            Place::Of(_) => Some(self.access()?),
        };
        self.remove_leftovers();
        let (name, file) = self.create_temporary()?;
        let path = store.directory.path().join(&name);
        let moved = self
            .fill(file, bytes, access.as_ref(), &path)
            .and_then(|written| self.check_basis(place).map(|()| written))
            .and_then(|written| self.rename(&name, &written, place))
            // A leftover does no harm, and the next writer tries again.
            .inspect_err(|_| drop(uninterrupted(|| store.directory.unlink(&name))));
        moved?;
        self.basis = None;
        store.trust.sync_for_writer(&*store.directory).map_err(|error| self.not_durable(error))
    }

    /// Removes what crashed writers left. The lock says that no living one needs it.
    fn remove_leftovers(&self) {
        let directory = &self.store.directory;
        let names = uninterrupted(|| directory.list()).unwrap_or_default();
        for name in names.iter().filter(|name| is_leftover(name, &self.store.name)) {
            // What is no regular file is none of ours. A name of another's file is only a name.
            let stat = uninterrupted(|| directory.stat(name));
            if stat.is_ok_and(|stat| stat.kind == FileKind::Regular) {
                drop(uninterrupted(|| directory.unlink(name)));
            }
        }
    }

    fn create_temporary(&self) -> Result<(OsString, Box<dyn DirectoryFile>), KeyFileError> {
        let mut attempts = NAME_ATTEMPTS;
        loop {
            attempts = attempts.saturating_sub(1);
            let name = temporary_name(&self.store.name).map_err(KeyFileError::Randomness)?;
            match uninterrupted(|| self.store.directory.create_new(&name)) {
                Ok(file) => return Ok((name, file)),
                // An interrupted call on a network file system may have created it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {}
                Err(error) => {
                    let path = self.store.directory.path().join(&name);
                    return Err(open_refused(FileAction::Create, &path)(error));
                }
            }
        }
    }

    /// Returns who may do what with the file that is there.
    fn access(&self) -> Result<Access, KeyFileError> {
        let (store, path) = (self.store, self.store.path());
        let file = uninterrupted(|| store.directory.open(&store.name))
            .map_err(open_refused(FileAction::Open, path))?;
        Access::of(&*file).map_err(refused(FileAction::Inspect, path))
    }

    /// Writes and syncs the temporary file, and closes it.
    fn fill(
        &self,
        mut file: Box<dyn DirectoryFile>,
        bytes: &[u8],
        access: Option<&Access>,
        path: &Path,
    ) -> Result<FileStat, KeyFileError> {
        let stat = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
        self.store.rules().check_new(&stat, path)?;
        if let Some(access) = access {
            let now = Access::of(&*file).map_err(refused(FileAction::Inspect, path))?;
            access.give_to(&*file, &now).map_err(refused(FileAction::SetOwner, path))?;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = uninterrupted(|| file.write(rest))
                .and_then(|written| match rest.get(written..) {
                    Some(left) if written > 0 => Ok(left),
                    _ => Err(io::Error::from(io::ErrorKind::WriteZero)),
                })
                .map_err(refused(FileAction::Write, path))?;
            rest = written;
        }
        file.sync().map_err(|error| {
            self.store.trust.end_writing();
            refused(FileAction::Sync, path)(error)
        })?;
        Ok(stat)
    }

    /// Refuses if somebody who does not heed the lock was at work: a lock file that was removed,
    /// or a file system whose locks do not reach everybody.
    fn check_basis(&self, place: Place) -> Result<(), KeyFileError> {
        let store = self.store;
        let changing = || KeyFileError::Changing { path: store.path().to_path_buf() };
        if !self.lock.is_named(&*store.directory, &store.name)? {
            return Err(changing());
        }
        match place {
            Place::Free => Ok(()),
            Place::Of(basis) if store.stamp()?.is_same_content(&basis) => Ok(()),
            Place::Of(_) => Err(changing()),
        }
    }

    /// Moves the temporary file, of which `written` is the `stat`, into place.
    fn rename(&self, from: &OsStr, written: &FileStat, place: Place) -> Result<(), KeyFileError> {
        let store = self.store;
        loop {
            let renamed = match place {
                Place::Free => rename_new(&*store.directory, from, &store.name),
                Place::Of(_) => store.directory.rename(from, &store.name),
            };
            let Err(error) = renamed else { return Ok(()) };
            if matches!(place, Place::Free) && error.kind() == io::ErrorKind::AlreadyExists {
                return Err(KeyFileError::Exists { path: store.path().to_path_buf() });
            }
            // Over a network, the answer of a rename that was done can get lost.
            match self.store.stat() {
                Ok(stat) if stat.is_same_file(written) => return Ok(()),
                Ok(_) | Err(KeyFileError::NotFound { .. }) => {}
                Err(_) => {
                    store.trust.end_reading();
                    return Err(self.not_durable(error));
                }
            }
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(refused(FileAction::Rename, store.path())(error));
            }
        }
    }

    fn not_durable(&self, error: io::Error) -> KeyFileError {
        KeyFileError::NotDurable { path: self.store.path().to_path_buf(), source: Arc::new(error) }
    }
}

/// What the new content takes the place of.
#[derive(Clone, Copy)]
enum Place {
    /// Nothing.
    Free,
    /// The content with this stamp.
    Of(Stamp),
}

/// A name that nobody can foresee, so that nobody can have put anything there.
fn temporary_name(name: &OsStr) -> Result<OsString, RandomnessUnavailable> {
    let number = crate::OsRandom.try_next_u64()?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{number:016x}.tmp"));
    Ok(temporary)
}

/// Whether `candidate` is a name that [`temporary_name`] gives out for `name`.
pub(crate) fn is_leftover(candidate: &OsStr, name: &OsStr) -> bool {
    let digits = candidate
        .as_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'))
    })
}

impl core::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Writer").field("path", &self.store.path()).finish_non_exhaustive()
    }
}
