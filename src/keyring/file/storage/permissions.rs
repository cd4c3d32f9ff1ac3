//! Which files are read, locked or replaced: regular ones of this user, private to it.

use crate::fs::{FileError, FileRules, FileStat, RuleFault};
use crate::keyring::file::error::KeyFileError;
use std::path::Path;

/// Rights that the owner needs.
const OWNER: u32 = 0o600;

/// What a file is checked against.
pub(super) struct Checks {
    /// The effective user of this process.
    pub(super) user: u32,
    pub(super) rules: FileRules,
}

impl Checks {
    /// Refuses all but a regular file of this user or of root that is private to its owner, as far as
    /// the rules ask for that.
    pub(super) fn check(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        let (path, user) = (|| path.to_path_buf(), self.user);
        self.rules.check(stat, user).map_err(|fault| match fault {
            RuleFault::Kind(kind) => FileError::NotRegular { path: path(), kind }.into(),
            RuleFault::Owner(owner) => KeyFileError::Owner { path: path(), owner, user },
            RuleFault::Mode(mode) => KeyFileError::Permissions { path: path(), mode },
        })
    }

    /// Refuses a file that was just created unless its owner can use it and it is empty.
    pub(super) fn check_new(&self, stat: &FileStat, path: &Path) -> Result<(), KeyFileError> {
        self.check(stat, path)?;
        if stat.mode & OWNER != OWNER {
            return Err(KeyFileError::Umask { path: path.to_path_buf(), mode: stat.mode });
        }
        if stat.len != 0 {
            return Err(FileError::Changed { path: path.to_path_buf() }.into());
        }
        Ok(())
    }
}
