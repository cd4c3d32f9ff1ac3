//! Where a message is, and the names beside it that are ours.

use super::error::{MessageFileError, not_durable, open_refused, refused};
use crate::fs::{
    Directory, DirectoryFile, FileAction, FileId, FileKind, FileStat, OsDirectory, PathFault,
    is_unsupported, uninterrupted,
};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use alloc::sync::Arc;
use rand_core::TryRng;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The names of what stands beside messages end in one of these: names that nobody gives to a file
/// of his own.
const JOURNAL: &str = ".envelock-rewrap";
const PARTIAL: &str = ".envelock-partial";
const DIGITS: usize = 16;

/// A file of a directory, that need not exist.
pub(crate) struct MessagePaths {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) message: Name,
    /// `.<name>.envelock-rewrap`: what the header of the message is being replaced by.
    pub(super) journal: Name,
}

/// A name in the directory.
pub(super) struct Name {
    pub(super) name: OsString,
    /// For messages.
    pub(super) path: PathBuf,
}

impl MessagePaths {
    /// The place at `path`, to write there: the directory has to be readable, or it is not synced.
    pub(crate) fn of(path: &Path) -> Result<Self, MessageFileError> {
        let (directory, name) = MessagePaths::split(path)?;
        if directory.is_search_only() {
            let path = directory.path();
            return Err(refused(FileAction::OpenDirectory, path)(Errno::ACCESS.into()));
        }
        MessagePaths::in_directory(Arc::new(directory), &name)
    }

    /// The place at `path`, to read there.
    pub(crate) fn to_read(path: &Path) -> Result<Self, MessageFileError> {
        let (directory, name) = MessagePaths::split(path)?;
        MessagePaths::in_directory(Arc::new(directory), &name)
    }

    fn split(path: &Path) -> Result<(OsDirectory, OsString), MessageFileError> {
        OsDirectory::of_file(path).map_err(|fault| match fault {
            PathFault::Name => MessageFileError::FileName { path: path.to_path_buf() },
            PathFault::Directory { path, error } => {
                refused(FileAction::OpenDirectory, &path)(error)
            }
        })
    }

    pub(crate) fn in_directory(
        directory: Arc<dyn Directory>,
        name: &OsStr,
    ) -> Result<Self, MessageFileError> {
        let bytes = name.as_bytes();
        let is_plain = !matches!(bytes, b"" | b"." | b"..")
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
        Ok(MessagePaths { directory, message, journal })
    }

    /// A name for a file that is not finished, which nobody can foresee: `.<16 digits>.envelock-partial`.
    pub(super) fn temporary(&self) -> Result<Name, RandomnessUnavailable> {
        let number = crate::OsRandom.try_next_u64()?;
        let name = OsString::from(alloc::format!(".{number:0DIGITS$x}{PARTIAL}"));
        Ok(Name { path: self.directory.path().join(&name), name })
    }

    /// Refuses to write a file that `sources` is read for, if one of those has the name of its
    /// journal: the next rewrap would take it for a leftover.
    pub(super) fn check_apart(&self, sources: &[FileId]) -> Result<(), MessageFileError> {
        let Name { path, .. } = &self.journal;
        match self.stat(&self.journal)? {
            Some(stat) if sources.contains(&stat.id()) => {
                Err(MessageFileError::SourceInTheWay { path: path.clone() })
            }
            _ => Ok(()),
        }
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
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(refused(FileAction::Inspect, &name.path)(error)),
        }
    }

    /// Whether `name` stands for the file that `stat` is of.
    pub(super) fn is_named(&self, name: &Name, stat: &FileStat) -> Result<bool, MessageFileError> {
        Ok(self.stat(name)?.is_some_and(|named| named.is_same_file(stat)))
    }

    /// Removes temporary names of the message that `stat` is of, which has its own: a crash can undo one
    /// half of a rename.
    pub(super) fn remove_temporary_names(&self, stat: &FileStat) {
        let names = uninterrupted(|| self.directory.list()).unwrap_or_default();
        for name in names.iter().filter(|name| is_temporary(name)) {
            let named = uninterrupted(|| self.directory.stat(name));
            if named.is_ok_and(|named| named.is_same_file(stat)) {
                drop(uninterrupted(|| self.directory.unlink(name)));
            }
        }
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
        self.sync_directory().map_err(not_durable(&self.message.path))
    }

    /// Makes the names of the directory durable, where the file system can be asked for that:
    /// others write them by themselves.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        match self.directory.sync() {
            Err(error) if is_unsupported(&error) => Ok(()),
            synced => synced,
        }
    }
}

/// Whether [`MessagePaths::temporary`] gives out such names.
fn is_temporary(name: &OsStr) -> bool {
    let inner = name.as_bytes().strip_prefix(b".");
    let digits = inner.and_then(|inner| inner.strip_suffix(PARTIAL.as_bytes()));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether nothing has a name, or nothing can have it, since it is too long.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_too_long(error)
}

/// Whether a name is too long for the file system.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NAMETOOLONG)
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
