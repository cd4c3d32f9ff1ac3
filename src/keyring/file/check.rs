//! Which files are read, locked or replaced at all: regular ones of our own, private to us.

use super::error::KeyFileError;
use crate::fs::{FileAction, FileKind, FileStat, kind_in_the_way};
use alloc::sync::Arc;
use std::io;
use std::path::Path;

/// Rights of the group and of everybody else.
const OTHERS: u32 = 0o077;
/// Rights that the owner needs.
const OWNER: u32 = 0o600;

/// What a file must be.
pub(crate) struct Rules {
    /// The effective user of this process.
    pub(crate) user: u32,
    /// Whether others may have rights on it.
    pub(crate) allow_permissions: bool,
}

impl Rules {
    /// A regular file of this user or of root, private to its owner.
    pub(crate) fn check(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        let path = || path.to_path_buf();
        if stat.kind != FileKind::Regular {
            return Err(KeyFileError::NotRegular { path: path(), kind: stat.kind });
        }
        // Root can read and change every file anyway.
        if stat.uid != self.user && stat.uid != 0 {
            return Err(KeyFileError::Owner { path: path(), owner: stat.uid, user: self.user });
        }
        if stat.mode & OTHERS != 0 && !self.allow_permissions {
            return Err(KeyFileError::Permissions { path: path(), mode: stat.mode });
        }
        Ok(())
    }

    /// An empty file that was created a moment ago, and that nobody else can have got hold of.
    pub(crate) fn check_new(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        self.check(stat, path)?;
        check_links(stat, 0, path)?;
        if stat.mode & OWNER != OWNER {
            return Err(KeyFileError::Umask { path: path.to_path_buf(), mode: stat.mode });
        }
        if stat.len != 0 {
            return Err(KeyFileError::Changing { path: path.to_path_buf() });
        }
        Ok(())
    }
}

/// One name, and `known` more. None is right too: the file was replaced after it was opened.
pub(crate) fn check_links(stat: &FileStat, known: u64, path: &Path) -> Result<(), KeyFileError> {
    if stat.links > known.saturating_add(1) {
        return Err(KeyFileError::HardLinks { path: path.to_path_buf(), links: stat.links });
    }
    Ok(())
}

/// The error of a call that the operating system refused.
pub(crate) fn refused(
    action: FileAction,
    path: &Path,
) -> impl FnOnce(io::Error) -> KeyFileError + '_ {
    move |error| KeyFileError::Io { action, path: path.to_path_buf(), source: Arc::new(error) }
}

/// The error of an open: what says what stands in the way is made ours.
pub(crate) fn open_refused(
    action: FileAction,
    path: &Path,
) -> impl FnOnce(io::Error) -> KeyFileError + '_ {
    move |error| match kind_in_the_way(&error) {
        Some(kind) => KeyFileError::NotRegular { path: path.to_path_buf(), kind },
        None => refused(action, path)(error),
    }
}
