//! Which files are read, locked or replaced at all: regular ones of our own, private to us.

use crate::fs::{FileAction, FileRules, FileStat, RuleFault, kind_in_the_way};
use crate::keyring::file::error::KeyFileError;
use alloc::sync::Arc;
use std::io;
use std::path::Path;

/// Rights that the owner needs.
const OWNER: u32 = 0o600;

/// What a file must be.
pub(crate) struct Checks {
    /// The effective user of this process.
    pub(crate) user: u32,
    pub(crate) rules: FileRules,
}

impl Checks {
    /// A regular file of this user or of root, private to its owner, as far as the rules ask that.
    pub(crate) fn check(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        let (path, user) = (|| path.to_path_buf(), self.user);
        self.rules.check(stat, user).map_err(|fault| match fault {
            RuleFault::Kind(kind) => KeyFileError::NotRegular { path: path(), kind },
            RuleFault::Owner(owner) => KeyFileError::Owner { path: path(), owner, user },
            RuleFault::Mode(mode) => KeyFileError::Permissions { path: path(), mode },
        })
    }

    /// An empty file that was created a moment ago, and that nobody else can have got hold of.
    pub(crate) fn check_new(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        self.check(stat, path)?;
        if stat.mode & OWNER != OWNER {
            return Err(KeyFileError::Umask { path: path.to_path_buf(), mode: stat.mode });
        }
        if stat.len != 0 {
            return Err(KeyFileError::Changing { path: path.to_path_buf() });
        }
        Ok(())
    }
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
