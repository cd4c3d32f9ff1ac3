//! The file system: one directory, one system call a method, so that a simulator can take the place
//! of the operating system; and what key files and message files share above it.

mod access;
mod action;
mod call;
mod directory;
mod error;
mod follow_links;
mod full_io;
mod location;
mod lock;
mod os;
mod replace;
mod rules;
mod secret_file;
mod unnamed;

pub(crate) use access::{Access, copy_ownership};
pub use action::FileAction;
pub(crate) use call::{is_unsupported, kind_in_the_way, uninterrupted};
pub(crate) use directory::FileId;
pub use directory::{Directory, DirectoryFile, FileKind, FileStat, FileTime};
pub use error::FileError;
pub(crate) use error::{failed, not_durable, open_failed};
pub(crate) use follow_links::{RouteFault, follow, stat_path};
pub(crate) use full_io::{fill, read_at, write_all, write_at_start};
pub(crate) use location::{Location, is_absent, is_plain, is_too_long, stat_of, stat_regular};
pub(crate) use lock::FileLock;
pub use os::OsDirectory;
#[cfg(any(test, feature = "test-util"))]
pub use os::PathFault;
pub(crate) use replace::{TempFile, TempNames};
pub use rules::FileRules;
pub(crate) use rules::RuleFault;
pub(crate) use secret_file::{SecretFault, read_secret, read_secret_file};
