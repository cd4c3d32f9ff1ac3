//! Where a key file is: fixed, or wherever its path leads at the time.

use super::permissions::refused;
use crate::fs::{
    self, Directory, FileAction, FileRules, FileStat, OsDirectory, PathFault, RouteFault,
    uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest name: `.<name>.<16 hexadecimal digits>.tmp` must be a name too, of at most 255.
const MAX_NAME_LEN: usize = 255 - 22;

/// A directory, and the name of the file in it.
pub(crate) struct Place {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) name: OsString,
    /// The path of the file, as it was given.
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new(directory: Arc<dyn Directory>, name: &OsStr) -> Result<Self, KeyFileError> {
        let path = directory.path().join(name);
        if !is_plain(name) {
            return Err(KeyFileError::FileName { path });
        }
        Ok(Place { directory, name: name.to_os_string(), path })
    }

    /// The path of another file in the same directory.
    pub(crate) fn beside(&self, name: &OsStr) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the name stands for, unchecked.
    pub(crate) fn stat(&self) -> Result<FileStat, KeyFileError> {
        inspected(uninterrupted(|| self.directory.stat(&self.name)), &self.path)
    }
}

/// How a place is found.
#[derive(Clone)]
pub(crate) enum Route {
    /// It is always the same.
    Fixed(Arc<Place>),
    /// It is where the path leads, links included.
    Path {
        given: PathBuf,
        /// The same, wherever the process goes.
        absolute: PathBuf,
    },
}

impl Route {
    /// # Errors
    ///
    /// [`KeyFileError::FileName`] if the path does not end in the name of a file,
    /// [`KeyFileError::Io`] if its directory cannot be opened.
    pub(crate) fn of_path(path: &Path) -> Result<Self, KeyFileError> {
        let (_, name) = OsDirectory::of_file(path).map_err(|fault| path_refused(fault, path))?;
        if !is_plain(&name) {
            return Err(KeyFileError::FileName { path: path.to_path_buf() });
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Route::Path { given: path.to_path_buf(), absolute })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Route::Fixed(place) => &place.path,
            Route::Path { given, .. } => given,
        }
    }

    /// The place that the route leads to now.
    pub(crate) fn place(&self, rules: FileRules, user: u32) -> Result<Arc<Place>, KeyFileError> {
        let (given, absolute) = match self {
            Route::Fixed(place) => return Ok(place.clone()),
            Route::Path { given, absolute } => (given, absolute),
        };
        let found = fs::follow(absolute, |uid| rules.trusts(uid, user));
        let (directory, name) = found.map_err(|fault| match fault {
            RouteFault::Path(fault) => path_refused(fault, given),
            RouteFault::Link { path, owner } => KeyFileError::Owner { path, owner, user },
        })?;
        if !is_plain(&name) {
            return Err(KeyFileError::FileName { path: directory.path().join(name) });
        }
        Ok(Arc::new(Place { directory: Arc::new(directory), name, path: given.clone() }))
    }

    /// What the route leads to, unchecked; `of_link` says whether a link in the last place is what
    /// is meant.
    pub(crate) fn stat(&self, of_link: bool) -> Result<FileStat, KeyFileError> {
        match self {
            Route::Fixed(place) => place.stat(),
            Route::Path { given, absolute } if of_link => {
                inspected(uninterrupted(|| fs::stat_link(absolute)), given)
            }
            Route::Path { given, absolute } => {
                inspected(uninterrupted(|| fs::stat_path(absolute)), given)
            }
        }
    }
}

fn inspected(answer: io::Result<FileStat>, path: &Path) -> Result<FileStat, KeyFileError> {
    answer.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::NotFound { path: path.to_path_buf() },
        _ => refused(FileAction::Inspect, path)(error),
    })
}

fn path_refused(fault: PathFault, given: &Path) -> KeyFileError {
    match fault {
        PathFault::Name => KeyFileError::FileName { path: given.to_path_buf() },
        PathFault::Directory { path, error } => refused(FileAction::OpenDirectory, &path)(error),
    }
}

/// Whether it is a plain name of at most 233 bytes.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..")
        && bytes.len() <= MAX_NAME_LEN
        && !bytes.iter().any(|&byte| byte == b'/' || byte == 0)
}
