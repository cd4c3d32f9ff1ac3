//! A file name in an open directory.

use super::call::{is_unsupported, uninterrupted};
use super::directory::{Directory, DirectoryFile, FileKind, FileStat};
use super::error::{FileAction, FileError, failed, open_failed};
use alloc::boxed::Box;
use alloc::sync::Arc;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A name in an open directory. The file need not exist.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) name: OsString,
    /// The path that errors report.
    pub(crate) path: PathBuf,
}

impl Location {
    /// # Errors
    ///
    /// [`FileError::Name`] if `name` is not a plain name of at most `max_len` bytes.
    pub(crate) fn new(
        directory: Arc<dyn Directory>,
        name: &OsStr,
        max_len: usize,
    ) -> Result<Self, FileError> {
        let path = directory.path().join(name);
        if !is_plain(name, max_len) {
            return Err(FileError::Name { path });
        }
        Ok(Location { directory, name: name.to_os_string(), path })
    }

    /// Returns another name in the same directory.
    pub(crate) fn sibling(&self, name: OsString) -> Self {
        let path = self.directory.path().join(&name);
        Location { directory: self.directory.clone(), name, path }
    }

    /// Opens the file for reading.
    pub(crate) fn open(&self) -> Result<Box<dyn DirectoryFile>, FileError> {
        uninterrupted(|| self.directory.open(&self.name))
            .map_err(open_failed(FileAction::Open, &self.path))
    }

    /// Returns the `stat` of the name, unless no file has it.
    pub(crate) fn stat(&self) -> Result<Option<FileStat>, FileError> {
        match uninterrupted(|| self.directory.stat(&self.name)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(FileAction::Inspect, &self.path)(error)),
        }
    }

    /// Returns the `stat` of the name.
    pub(crate) fn existing(&self) -> Result<FileStat, FileError> {
        self.stat()?.ok_or_else(|| FileError::NotFound { path: self.path.clone() })
    }

    /// Reports whether the name belongs to the file of `stat`.
    pub(crate) fn is_name_of(&self, stat: &FileStat) -> Result<bool, FileError> {
        Ok(self.stat()?.is_some_and(|named| named.is_same_file(stat)))
    }

    /// Removes the name, if there is one.
    pub(crate) fn remove(&self) -> Result<(), FileError> {
        match uninterrupted(|| self.directory.unlink(&self.name)) {
            // An interrupted call may have removed it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(FileAction::Remove, &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Syncs the directory, where the file system has such a sync: the others write names at once.
    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        match self.directory.sync() {
            Err(error) if is_unsupported(&error) => Ok(()),
            synced => synced,
        }
    }
}

/// Reports whether `name` is a plain file name of at most `max_len` bytes.
pub(crate) fn is_plain(name: &OsStr, max_len: usize) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..")
        && bytes.len() <= max_len
        && !bytes.iter().any(|&byte| byte == b'/' || byte == 0)
}

/// Returns the `stat` of an open file.
pub(crate) fn stat_of(file: &dyn DirectoryFile, path: &Path) -> Result<FileStat, FileError> {
    uninterrupted(|| file.stat()).map_err(failed(FileAction::Inspect, path))
}

/// As [`stat_of`], and refuses all but regular files.
pub(crate) fn stat_regular(file: &dyn DirectoryFile, path: &Path) -> Result<FileStat, FileError> {
    match stat_of(file, path)? {
        stat if stat.kind == FileKind::Regular => Ok(stat),
        FileStat { kind, .. } => Err(FileError::NotRegular { path: path.to_path_buf(), kind }),
    }
}

/// Reports whether no file has a name, or none can, because the name is too long.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_too_long(error)
}

/// Reports whether a name is too long for the file system.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NAMETOOLONG)
}
