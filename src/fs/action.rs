//! Naming what was to be done when the operating system refused.

use core::fmt;

/// What was to be done when the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAction {
    /// Open the directory.
    OpenDirectory,
    /// Open the file.
    Open,
    /// Look at a file's owner, mode and length.
    Inspect,
    /// Read the file.
    Read,
    /// Create a new file: the temporary or unfinished one, or the journal.
    Create,
    /// Write what is new: the temporary or unfinished file, the journal, or the header of a message
    /// in place.
    Write,
    /// Sync what was written: the temporary or unfinished file, the journal, or the message itself.
    Sync,
    /// Put the temporary or unfinished file in the place of the file.
    Rename,
    /// Sync the directory.
    SyncDirectory,
    /// Open or create the lock file.
    OpenLock,
    /// Lock the file.
    Lock,
    /// Give a new file the owner, group and mode of the one that it stands for, or beside which it
    /// stands as a journal.
    SetOwner,
    /// Remove the file.
    Remove,
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileAction::OpenDirectory => "open directory",
            FileAction::Open => "open",
            FileAction::Inspect => "inspect",
            FileAction::Read => "read",
            FileAction::Create => "create",
            FileAction::Write => "write",
            FileAction::Sync => "sync",
            FileAction::Rename => "put a new file in place as",
            FileAction::SyncDirectory => "sync directory",
            FileAction::OpenLock => "open lock file",
            FileAction::Lock => "lock",
            FileAction::SetOwner => "set owner and mode of",
            FileAction::Remove => "remove",
        })
    }
}
