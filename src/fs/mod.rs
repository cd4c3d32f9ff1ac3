//! The file system: one directory, one system call a method, so that a simulator can take the
//! place of the operating system. The key file stands on it, and so do messages in files.

mod access;
mod action;
mod call;
mod directory;
mod os;
mod route;
mod rules;
mod secret_file;
mod unnamed;

pub(crate) use access::Access;
pub use action::FileAction;
pub(crate) use call::{
    is_unsupported, kind_in_the_way, may_pass, move_new, rename_new, uninterrupted,
};
pub(crate) use directory::FileId;
pub use directory::{Directory, DirectoryFile, FileKind, FileStat, FileTime};
pub use os::{OsDirectory, PathFault};
pub(crate) use route::{RouteFault, follow, stat_link, stat_path};
pub use rules::FileRules;
pub(crate) use rules::RuleFault;
pub(crate) use secret_file::{SecretFault, read_secret, read_secret_file};
