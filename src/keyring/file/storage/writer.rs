//! Replacing a file as a whole: at every moment its name stands for the old content or the new.

use super::fingerprint::Fingerprint;
use super::location::Place;
use super::lock::Lock;
use super::permissions::{open_refused, refused};
use super::read::Loaded;
use super::store::Store;
use crate::fs::{Access, DirectoryFile, FileAction, FileKind, FileStat, rename_new, uninterrupted};
use crate::keyring::file::error::KeyFileError;
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
    /// Where the path led when the lock was taken.
    place: Arc<Place>,
    lock: Lock,
    /// The content that the change is made to, once it is known.
    basis: Option<Fingerprint>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(store: &'a Store, place: Arc<Place>, lock: Lock) -> Self {
        Writer { store, place, lock, basis: None }
    }

    /// Reads the file, which no other writer replaces before this one is dropped. If somebody who
    /// does not heed the lock does so, [`replace`](Self::replace) refuses.
    ///
    /// # Errors
    ///
    /// Those of [`Store::load`].
    pub fn load(&mut self) -> Result<Loaded, KeyFileError> {
        let loaded = self.store.load_at(&self.place)?;
        self.basis = Some(loaded.fingerprint());
        Ok(loaded)
    }

    /// Writes a new file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Exists`] if anything has its name; else those of
    /// [`replace`](Self::replace).
    pub fn create(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        if self.store.exists()? {
            return Err(KeyFileError::Exists { path: self.store.path().to_path_buf() });
        }
        // Where that cannot be done, nothing is written in vain.
        self.store.sync_state.sync_for_reader(&self.place, None)?;
        self.write(bytes, Target::Free)
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
        let stat = self.place.stat()?;
        self.store.check(&stat)?;
        let basis = *self.basis.get_or_insert(Fingerprint::of(&stat));
        self.write(bytes, Target::Of(basis))
    }

    fn write(&mut self, bytes: &[u8], target: Target) -> Result<(), KeyFileError> {
        let (store, place) = (self.store, &*self.place);
        store.check_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        store.sync_state.demand_writing(place)?;
        let access = match target {
            Target::Free => None,
            Target::Of(_) => Some(self.access()?),
        };
        self.remove_leftovers();
        let (name, file) = self.create_temporary()?;
        let path = place.beside(&name);
        let moved = self
            .fill(file, bytes, access.as_ref(), &path)
            .and_then(|written| self.check_basis(target).map(|()| written))
            .and_then(|written| self.rename(&name, &written, target))
            // A leftover does no harm, and the next writer tries again.
            .inspect_err(|_| drop(uninterrupted(|| place.directory.unlink(&name))));
        moved?;
        self.basis = None;
        store.sync_state.sync_for_writer(&self.place).map_err(|error| self.not_durable(error))
    }

    /// Removes what crashed writers left. The lock says that no living one needs it.
    fn remove_leftovers(&self) {
        let Place { directory, name: own, .. } = &*self.place;
        let names = uninterrupted(|| directory.list()).unwrap_or_default();
        for name in names.iter().filter(|name| is_leftover(name, own)) {
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
            let name = temporary_name(&self.place.name).map_err(KeyFileError::Randomness)?;
            match uninterrupted(|| self.place.directory.create_new(&name)) {
                Ok(file) => return Ok((name, file)),
                // An interrupted call on a network file system may have created it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {}
                Err(error) => {
                    let path = self.place.beside(&name);
                    return Err(open_refused(FileAction::Create, &path)(error));
                }
            }
        }
    }

    /// Returns who may do what with the file that is there.
    fn access(&self) -> Result<Access, KeyFileError> {
        let (place, path) = (&*self.place, self.store.path());
        let file = uninterrupted(|| place.directory.open(&place.name))
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
        self.store.checks().check_new(&stat, path)?;
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
        file.sync().map_err(refused(FileAction::Sync, path))?;
        Ok(stat)
    }

    /// Refuses if somebody who does not heed the lock was at work: a lock file that was removed,
    /// a file system whose locks do not reach everybody, or a link that was turned elsewhere.
    fn check_basis(&self, target: Target) -> Result<(), KeyFileError> {
        let store = self.store;
        let changing = || KeyFileError::Changing { path: store.path().to_path_buf() };
        if !self.lock.is_named(&self.place)? {
            return Err(changing());
        }
        match target {
            Target::Free => Ok(()),
            Target::Of(basis) if store.fingerprint()?.is_same_content(&basis) => Ok(()),
            Target::Of(_) => Err(changing()),
        }
    }

    /// Moves the temporary file, of which `written` is the `stat`, into place.
    fn rename(&self, from: &OsStr, written: &FileStat, target: Target) -> Result<(), KeyFileError> {
        let (store, place) = (self.store, &*self.place);
        loop {
            let renamed = match target {
                Target::Free => rename_new(&*place.directory, from, &place.name),
                Target::Of(_) => place.directory.rename(from, &place.name),
            };
            let Err(error) = renamed else { return Ok(()) };
            if matches!(target, Target::Free) && error.kind() == io::ErrorKind::AlreadyExists {
                return Err(KeyFileError::Exists { path: store.path().to_path_buf() });
            }
            // Over a network, the answer of a rename that was done can get lost.
            match place.stat() {
                Ok(stat) if stat.is_same_file(written) => return Ok(()),
                Ok(_) | Err(KeyFileError::NotFound { .. }) => {}
                Err(_) => {
                    store.sync_state.end();
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
enum Target {
    /// Nothing.
    Free,
    /// The content with this stamp.
    Of(Fingerprint),
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
