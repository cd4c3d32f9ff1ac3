//! The file system: one directory, one system call a method, so that a simulator can take the place
//! of the operating system; and what key files and message files share above it.

mod access;
mod call;
mod directory;
mod error;
mod follow_links;
mod location;
mod lock;
mod os;
mod rules;
mod secret_file;
mod temp_file;

pub(crate) use access::{Access, copy_ownership};
pub(crate) use call::{
    fill, is_unsupported, kind_in_the_way, read_at, uninterrupted, write_all, write_at_start,
};
pub(crate) use directory::FileId;
pub use directory::{Directory, DirectoryFile, FileKind, FileStat, FileTime};
pub use error::{FileAction, FileError};
pub(crate) use error::{failed, not_durable, open_failed};
pub(crate) use follow_links::{RouteFault, follow, stat_path};
pub(crate) use location::{Location, is_absent, is_plain, is_too_long, stat_of, stat_regular};
pub(crate) use lock::FileLock;
pub use os::OsDirectory;
#[cfg(any(test, feature = "test-util"))]
pub use os::PathFault;
pub use rules::FileRules;
pub(crate) use rules::RuleFault;
pub(crate) use secret_file::{SecretFault, read_secret, read_secret_file};
pub(crate) use temp_file::{TempFile, TempNames};
