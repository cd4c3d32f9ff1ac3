//! How a key file is found: at a fixed location, wherever a path leads now, or in memory.

use super::fingerprint::Fingerprint;
use super::in_memory::{self, MemoryFile};
use crate::fs::{
    self, FileAction, FileError, FileRules, FileStat, Location, OsDirectory, RouteFault, failed,
    is_plain, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use std::io;
use std::path::{Path, PathBuf};

/// The longest name: `.<name>.<16 hexadecimal digits>.tmp` must be a name too, of at most 255.
pub(super) const MAX_NAME_LEN: usize = 255 - 22;

/// How a key file is found.
#[derive(Clone)]
pub(super) enum Locator {
    /// Always at the same location.
    Fixed(Arc<Location>),
    /// Where the path leads, links included.
    Path {
        given: PathBuf,
        /// The same path for any working directory.
        absolute: PathBuf,
    },
    /// In memory, read-only.
    Memory(Arc<MemoryFile>),
}

impl Locator {
    /// # Errors
    ///
    /// [`FileError::Name`] if the path does not end in a plain name of at most 233 bytes,
    /// [`FileError::Io`] if its directory cannot be opened.
    pub(super) fn of_path(path: &Path) -> Result<Self, FileError> {
        let (_, name) = OsDirectory::of_file(path).map_err(|fault| fault.into_error(path))?;
        if !is_plain(&name, MAX_NAME_LEN) {
            return Err(FileError::Name { path: path.to_path_buf() });
        }
        // Without a working directory, `path` itself is what the kernel can follow.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Locator::Path { given: path.to_path_buf(), absolute })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Locator::Fixed(location) => &location.path,
            Locator::Path { given, .. } => given,
            Locator::Memory(_) => Path::new(in_memory::NAME),
        }
    }

    /// Returns the location where the file is now. A file in memory has none and is read-only.
    pub(super) fn locate(
        &self,
        rules: FileRules,
        user: u32,
    ) -> Result<Arc<Location>, KeyFileError> {
        let (given, absolute) = match self {
            Locator::Fixed(location) => return Ok(location.clone()),
            Locator::Path { given, absolute } => (given, absolute),
            Locator::Memory(_) => {
                return Err(KeyFileError::ReadOnly { path: self.path().to_path_buf() });
            }
        };
        let found = fs::follow(absolute, |uid| rules.accepts_owner(uid, user));
        let (directory, name) = found.map_err(|fault| match fault {
            RouteFault::Path(fault) => fault.into_error(given).into(),
            RouteFault::Link { path, owner } => KeyFileError::Owner { path, owner, user },
        })?;
        let location = Location::new(Arc::new(directory), &name, MAX_NAME_LEN)?;
        Ok(Arc::new(Location { path: given.clone(), ..location }))
    }

    /// Returns the `stat` of the file, or of a link in the last place if `of_link`; unchecked.
    fn stat(&self, of_link: bool) -> Result<FileStat, FileError> {
        let path = self.path();
        let stat = match self {
            Locator::Fixed(location) => return location.existing(),
            Locator::Path { absolute, .. } => uninterrupted(|| fs::stat_path(absolute, of_link)),
            Locator::Memory(_) => Err(io::ErrorKind::NotFound.into()),
        };
        stat.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::NotFound { path: path.to_path_buf() },
            _ => failed(FileAction::Inspect, path)(error),
        })
    }

    /// Reports whether anything has the name, a link included.
    pub(super) fn exists(&self) -> Result<bool, FileError> {
        match self.stat(true) {
            Ok(_) => Ok(true),
            Err(FileError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn fingerprint(&self) -> Result<Fingerprint, FileError> {
        match self {
            Locator::Memory(file) => Ok(file.fingerprint()),
            _ => Ok(Fingerprint::of(&self.stat(false)?)),
        }
    }
}
