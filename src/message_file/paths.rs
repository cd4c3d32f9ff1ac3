//! The path of a message and the names beside it that this library uses.

use super::error::MessageFileError;
use crate::fs::{
    Directory, DirectoryFile, FileAction, FileError, FileId, FileLock, FileStat, Location,
    OsDirectory, TempFile, TempNames, failed, is_unsupported, not_durable, open_failed,
    stat_regular, uninterrupted,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The suffixes of names that no application gives to its files.
const JOURNAL: &str = ".envelock-rewrap";
const TEMPORARY: &str = ".envelock-partial";

/// How long a call waits for another writer.
const WAIT: Duration = Duration::from_secs(10);

/// A message and its journal. Neither need exist.
pub(crate) struct MessagePaths {
    pub(super) message: Location,
    /// `.<name>.envelock-rewrap`: the header that is replaced, and the new one.
    pub(super) journal: Location,
    /// `.<16 digits>.envelock-partial`: unfinished files.
    temporary: TempNames,
}

impl MessagePaths {
    /// Returns the paths for writing at `path`: its directory has to be readable, or it cannot be
    /// synced.
    pub(crate) fn to_write(path: &Path) -> Result<Self, MessageFileError> {
        let (directory, name) =
            OsDirectory::of_file(path).map_err(|fault| fault.into_error(path))?;
        if directory.is_search_only() {
            let path = directory.path();
            return Err(failed(FileAction::OpenDirectory, path)(Errno::ACCESS.into()).into());
        }
        Ok(MessagePaths::in_directory(Arc::new(directory), &name)?)
    }

    /// Returns the paths for reading at `path`.
    pub(crate) fn to_read(path: &Path) -> Result<Self, FileError> {
        let (directory, name) =
            OsDirectory::of_file(path).map_err(|fault| fault.into_error(path))?;
        MessagePaths::in_directory(Arc::new(directory), &name)
    }

    pub(crate) fn in_directory(
        directory: Arc<dyn Directory>,
        name: &OsStr,
    ) -> Result<Self, FileError> {
        let message = Location::new(directory, name, usize::MAX)?;
        let mut journal = OsString::from(".");
        journal.push(name);
        journal.push(JOURNAL);
        let journal = message.sibling(journal);
        Ok(MessagePaths { message, journal, temporary: TempNames::new(".".into(), TEMPORARY) })
    }

    /// Refuses to write a file whose journal would have the name of one of `sources`: the next rewrap
    /// would take that for a leftover.
    pub(super) fn check_sources(&self, sources: &[FileId]) -> Result<(), MessageFileError> {
        match self.journal.stat()? {
            Some(stat) if sources.contains(&stat.id()) => {
                Err(MessageFileError::SourceInTheWay { path: self.journal.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses to write a file that has a name of a journal or of an unfinished file.
    pub(super) fn check_name(&self) -> Result<(), FileError> {
        let name = self.message.name.as_bytes();
        if name.starts_with(b".")
            && [JOURNAL, TEMPORARY].iter().any(|end| name.ends_with(end.as_bytes()))
        {
            return Err(FileError::Name { path: self.message.path.clone() });
        }
        Ok(())
    }

    /// Opens the message for reading.
    pub(super) fn open(&self) -> Result<(Box<dyn DirectoryFile>, FileStat), FileError> {
        let file = self.message.open()?;
        let stat = stat_regular(&*file, &self.message.path)?;
        Ok((file, stat))
    }

    /// Opens and locks the message.
    pub(super) fn lock(&self) -> Result<FileLock, FileError> {
        let Location { directory, name, path } = &self.message;
        FileLock::acquire(&self.message, WAIT, || {
            let file = uninterrupted(|| directory.open_write(name))
                .map_err(open_failed(FileAction::Open, path))?;
            // Before the lock: only a regular file is locked.
            let stat = stat_regular(&*file, path)?;
            Ok((file, stat))
        })
    }

    /// Opens and locks the file that is to be replaced, if there is one. Where the file system has no
    /// locks, a rewrap refuses, so that none can be undone here.
    pub(super) fn lock_to_replace(&self) -> Result<Option<FileLock>, FileError> {
        let locked = match self.lock() {
            Err(FileError::NoLocks { source, .. }) if is_unsupported(&source) => {
                self.open().map(|(file, stat)| FileLock::without_lock(&self.message, file, stat))
            }
            locked => locked,
        };
        match locked {
            Err(FileError::NotFound { .. }) => Ok(None),
            locked => locked.map(Some),
        }
    }

    /// Creates an unfinished file that is to get the name of the message.
    pub(super) fn new_file(&self) -> Result<TempFile<'_>, FileError> {
        TempFile::unnamed(&self.message, &self.temporary)
    }

    /// Removes temporary names of the message of `stat`: a crash can undo one half of a rename.
    pub(super) fn remove_temporary_names(&self, stat: &FileStat) {
        let directory = &*self.message.directory;
        self.temporary.remove_leftovers(directory, |named| named.is_same_file(stat));
    }

    /// Makes durable which file has the name of the message.
    pub(super) fn sync_names(&self) -> Result<(), FileError> {
        self.message.sync_directory().map_err(not_durable(&self.message.path))
    }
}
