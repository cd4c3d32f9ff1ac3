//! The actions that errors name.

use core::fmt;

/// The action that the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAction {
    /// Open the directory.
    OpenDirectory,
    /// Open the file.
    Open,
    /// Read owner, mode and length of a file.
    Inspect,
    /// Read the file.
    Read,
    /// Create a temporary file or a journal.
    Create,
    /// Write a temporary file, a journal, or the header of a message in place.
    Write,
    /// Sync a temporary file, a journal, or the message.
    Sync,
    /// Give a temporary file its name.
    Rename,
    /// Sync the directory.
    SyncDirectory,
    /// Open or create the lock file.
    OpenLock,
    /// Lock the file.
    Lock,
    /// Give a temporary file or a journal the owner, group and mode of the file it belongs to.
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
