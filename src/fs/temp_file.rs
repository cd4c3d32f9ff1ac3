//! A new file that gets its name only when it is complete.

use super::call::{move_new, rename_new, uninterrupted, write_all};
use super::directory::{Directory, DirectoryFile, FileStat};
use super::error::{FileAction, FileError, failed, not_durable};
use super::location::{Location, stat_of};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use rand_core::TryRng;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many random names are tried while each exists already.
const NAME_ATTEMPTS: usize = 4;

const DIGITS: usize = 16;

/// The names of temporary files: `before`, 16 random hexadecimal digits, `after`. No other process
/// can foresee one, or has put a file there.
pub(crate) struct TempNames {
    before: OsString,
    after: &'static str,
}

impl TempNames {
    pub(crate) fn new(before: OsString, after: &'static str) -> Self {
        TempNames { before, after }
    }

    fn draw(&self) -> Result<OsString, RandomnessUnavailable> {
        let number = crate::OsRandom.try_next_u64()?;
        let mut name = self.before.clone();
        name.push(alloc::format!("{number:0DIGITS$x}{}", self.after));
        Ok(name)
    }

    fn contains(&self, name: &OsStr) -> bool {
        let inner = name.as_bytes().strip_prefix(self.before.as_bytes());
        let digits = inner.and_then(|inner| inner.strip_suffix(self.after.as_bytes()));
        digits.is_some_and(|digits| {
            digits.len() == DIGITS && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'))
        })
    }

    /// Removes those temporary names in `directory` that `is_leftover` finds, as far as possible.
    pub(crate) fn remove_leftovers(
        &self,
        directory: &dyn Directory,
        is_leftover: impl Fn(&FileStat) -> bool,
    ) {
        // Nothing: a leftover does no harm, and the next writer lists again.
        let names = uninterrupted(|| directory.list()).unwrap_or_default();
        for name in names.iter().filter(|name| self.contains(name)) {
            if uninterrupted(|| directory.stat(name)).is_ok_and(|stat| is_leftover(&stat)) {
                drop(uninterrupted(|| directory.unlink(name)));
            }
        }
    }

    /// Runs `call` with a new name in the directory of `target`, and again with another if a file
    /// has that name.
    fn with_new_name<T>(
        &self,
        target: &Location,
        mut call: impl FnMut(&OsStr) -> io::Result<T>,
    ) -> Result<(T, Location), FileError> {
        let mut attempts = 1..NAME_ATTEMPTS;
        loop {
            let location = target.sibling(self.draw().map_err(FileError::Randomness)?);
            match call(&location.name) {
                Ok(value) => return Ok((value, location)),
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && attempts.next().is_some() => {}
                Err(error) => {
                    // Over a network, a call that fails can have succeeded on the server.
                    drop(location.remove());
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(failed(FileAction::Create, &location.path)(error));
                    }
                }
            }
        }
    }
}

/// A new file of mode 0600 for `target`. Dropping it removes its temporary name.
pub(crate) struct TempFile<'a> {
    target: &'a Location,
    names: &'a TempNames,
    file: Box<dyn DirectoryFile>,
    temporary: Option<Location>,
}

impl<'a> TempFile<'a> {
    /// Creates a file with a temporary name.
    pub(crate) fn named(target: &'a Location, names: &'a TempNames) -> Result<Self, FileError> {
        let create = |name: &OsStr| target.directory.create_new(name);
        let (file, temporary) = names.with_new_name(target, create)?;
        Ok(TempFile { target, names, file, temporary: Some(temporary) })
    }

    /// Creates a file without a name, so that a process that is killed leaves nothing; where the
    /// system has no such files, one with a temporary name.
    pub(crate) fn unnamed(target: &'a Location, names: &'a TempNames) -> Result<Self, FileError> {
        match uninterrupted(|| target.directory.create_unnamed()) {
            Ok(file) => Ok(TempFile { target, names, file, temporary: None }),
            // Whatever is wrong, `named` meets it too and reports it.
            Err(_) => TempFile::named(target, names),
        }
    }

    pub(crate) fn file(&self) -> &dyn DirectoryFile {
        &*self.file
    }

    /// The path for errors: the temporary one, or that of the target.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary.as_ref().unwrap_or(self.target).path
    }

    /// Writes `bytes` after what was written before.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        write_all(&mut *self.file, bytes).map_err(failed(FileAction::Write, self.path()))
    }

    /// Waits until the bytes are on the medium.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        // Never repeated: a second `fsync` can report success for what was lost.
        self.file.sync().map_err(failed(FileAction::Sync, self.path()))
    }

    /// Gives the file its name, which no file has. The caller syncs the directory.
    ///
    /// `is_locked`: the caller has the lock that keeps all others from creating that name, so that
    /// a `stat` decides where the file system has no atomic call.
    ///
    /// # Errors
    ///
    /// [`FileError::Exists`]; [`FileError::NotDurable`] if the outcome is unknown;
    /// [`FileError::Io`].
    pub(crate) fn publish(&self, is_locked: bool) -> Result<(), FileError> {
        let Location { directory, name, .. } = self.target;
        self.put(|| match &self.temporary {
            None => self.file.link_new(name),
            Some(from) if is_locked => rename_new(&**directory, &from.name, name),
            Some(from) => move_new(&**directory, &from.name, name),
        })
    }

    /// Puts the file in the place of the one that has its name. The caller syncs the directory.
    ///
    /// # Errors
    ///
    /// [`FileError::NotDurable`] if the outcome is unknown; [`FileError::Io`].
    pub(crate) fn replace(&mut self) -> Result<(), FileError> {
        let from = match self.temporary.take() {
            Some(from) => from,
            // A rename needs a name to begin with.
            None => {
                let link = |name: &OsStr| self.file.link_new(name);
                self.names.with_new_name(self.target, link)?.1
            }
        };
        let Location { directory, name, .. } = self.target;
        let renamed = self.put(|| directory.rename(&from.name, name));
        self.temporary = Some(from);
        renamed
    }

    /// Calls until the file has its name, and finds out whether a call that failed was carried out:
    /// over a network, its answer can get lost.
    fn put(&self, mut call: impl FnMut() -> io::Result<()>) -> Result<(), FileError> {
        let path = &self.target.path;
        while let Err(error) = call() {
            match stat_of(self.file(), path).and_then(|stat| self.target.is_name_of(&stat)) {
                Ok(true) => break,
                Ok(false) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(false) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(FileError::Exists { path: path.clone() });
                }
                Ok(false) => return Err(failed(FileAction::Rename, path)(error)),
                Err(_) => return Err(not_durable(path)(error)),
            }
        }
        Ok(())
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        // No file has that name after a rename, and never one of another process.
        if let Some(temporary) = &self.temporary {
            drop(temporary.remove());
        }
    }
}
