//! Where a message is, and the names beside it that are ours.

use super::error::{MessageFileError, not_durable, open_refused, refused};
use crate::fs::{
    Directory, DirectoryFile, FileAction, FileId, FileKind, FileStat, OsDirectory, PathFault,
    uninterrupted,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is ours ends in one of these: names that nobody gives to a file of his own, since what has
/// one can be cleared away.
const JOURNAL: &str = ".envelock-rewrap";
const PARTIAL: &str = ".envelock-partial";

/// The longest name: `.<name>.envelock-partial` must be a name too, of at most 255.
const MAX_NAME_LEN: usize = 255 - 1 - PARTIAL.len();

/// A file of a directory, that need not exist.
pub(crate) struct Place {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) message: Name,
    /// `.<name>.envelock-rewrap`: what the header of the message is being replaced by.
    pub(super) journal: Name,
    /// `.<name>.envelock-partial`: a whole new file that is not finished.
    pub(super) partial: Name,
}

/// A name in the directory.
pub(super) struct Name {
    pub(super) name: OsString,
    /// For messages.
    pub(super) path: PathBuf,
}

impl Place {
    pub(crate) fn of(path: &Path) -> Result<Self, MessageFileError> {
        let (directory, name) = OsDirectory::of_file(path).map_err(|fault| match fault {
            PathFault::Name => MessageFileError::FileName { path: path.to_path_buf() },
            PathFault::Directory { path, error } => {
                refused(FileAction::OpenDirectory, &path)(error)
            }
        })?;
        Place::in_directory(Arc::new(directory), &name)
    }

    pub(crate) fn in_directory(
        directory: Arc<dyn Directory>,
        name: &OsStr,
    ) -> Result<Self, MessageFileError> {
        let bytes = name.as_bytes();
        let is_plain = !matches!(bytes, b"" | b"." | b"..")
            && bytes.len() <= MAX_NAME_LEN
            && !bytes.iter().any(|&byte| byte == b'/' || byte == 0);
        if !is_plain {
            return Err(MessageFileError::FileName { path: directory.path().join(name) });
        }
        let named = |before: &str, after: &str| {
            let mut whole = OsString::from(before);
            whole.push(name);
            whole.push(after);
            Name { path: directory.path().join(&whole), name: whole }
        };
        let (message, journal) = (named("", ""), named(".", JOURNAL));
        let partial = named(".", PARTIAL);
        Ok(Place { directory, message, journal, partial })
    }

    /// Refuses to write a file that `sources` is read for, if one of those is what stands, for as
    /// long as that is written, under a name beside it: it would be taken for a leftover.
    pub(super) fn check_apart(&self, sources: &[FileId]) -> Result<(), MessageFileError> {
        for name in [&self.partial, &self.journal] {
            if self.stat(name)?.is_some_and(|stat| sources.contains(&stat.id())) {
                return Err(MessageFileError::SourceInTheWay { path: name.path.clone() });
            }
        }
        Ok(())
    }

    /// Refuses to write a file that would itself be taken for what a rewrap or a crash left.
    pub(super) fn check_not_ours(&self) -> Result<(), MessageFileError> {
        let Name { name, path } = &self.message;
        let is_ours = |end: &&str| name.as_bytes().ends_with(end.as_bytes());
        if name.as_bytes().starts_with(b".") && [JOURNAL, PARTIAL].iter().any(is_ours) {
            return Err(MessageFileError::FileName { path: path.clone() });
        }
        Ok(())
    }

    /// Opens the message for reading.
    pub(super) fn open(&self) -> Result<(Box<dyn DirectoryFile>, FileStat), MessageFileError> {
        let Name { name, path } = &self.message;
        let file = uninterrupted(|| self.directory.open(name)).map_err(open_refused(path))?;
        let stat = stat_regular(&*file, path)?;
        Ok((file, stat))
    }

    /// What a name stands for, if for anything.
    pub(super) fn stat(&self, name: &Name) -> Result<Option<FileStat>, MessageFileError> {
        match uninterrupted(|| self.directory.stat(&name.name)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(FileAction::Inspect, &name.path)(error)),
        }
    }

    /// Whether `name` stands for the file that `stat` is of.
    pub(super) fn is_named(&self, name: &Name, stat: &FileStat) -> Result<bool, MessageFileError> {
        Ok(self.stat(name)?.is_some_and(|named| named.is_same_file(stat)))
    }

    pub(super) fn remove(&self, name: &Name) -> Result<(), MessageFileError> {
        match uninterrupted(|| self.directory.unlink(&name.name)) {
            // An interrupted call may have done it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(refused(FileAction::Remove, &name.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes what the message's name stands for durable.
    pub(super) fn sync_names(&self) -> Result<(), MessageFileError> {
        self.directory.sync().map_err(not_durable(&self.message.path))
    }
}

/// Refuses what is not a regular file.
pub(super) fn stat_regular(
    file: &dyn DirectoryFile,
    path: &Path,
) -> Result<FileStat, MessageFileError> {
    let stat = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
    if stat.kind != FileKind::Regular {
        return Err(MessageFileError::NotRegular { path: path.to_path_buf(), kind: stat.kind });
    }
    Ok(stat)
}
