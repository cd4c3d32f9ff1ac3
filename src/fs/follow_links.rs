//! A path, followed to the file that it leads to now: links are changed to replace a file.

use super::call::uninterrupted;
use super::directory::{Directory, FileKind, FileStat};
use super::os::{OsDirectory, PathFault, file_stat};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// How many links a path may have before it counts as a loop, as in the kernel.
const MAX_LINKS: usize = 40;

/// Why a path is not followed.
#[derive(Debug)]
pub(crate) enum RouteFault {
    Path(PathFault),
    /// It leads through a link that another user can change.
    Link {
        /// The path of the link.
        path: PathBuf,
        /// The owner of the link or of its directory.
        owner: u32,
    },
}

/// Opens the directory in which the file is that `path` leads to, and returns its name there: it
/// is no link, and need not exist.
///
/// A link in the last place is followed if `accepts` its owner and that of its directory, each of whom
/// can change it. Links on the way to the directory are followed as the kernel does.
pub(crate) fn follow(
    path: &Path,
    accepts: impl Fn(u32) -> bool,
) -> Result<(OsDirectory, OsString), RouteFault> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let (directory, name) = OsDirectory::of_file(&path).map_err(RouteFault::Path)?;
        let fault = |error| RouteFault::Path(PathFault::Directory { path: path.clone(), error });
        let owner = match uninterrupted(|| directory.stat(&name)) {
            Ok(stat) if stat.kind == FileKind::Symlink => stat.uid,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
            _ => return Ok((directory, name)),
        };
        let holder = uninterrupted(|| directory.owner()).map_err(fault)?;
        if let Some(owner) = [owner, holder].into_iter().find(|uid| !accepts(*uid)) {
            return Err(RouteFault::Link { path, owner });
        }
        let target: PathBuf = uninterrupted(|| directory.read_link(&name)).map_err(fault)?.into();
        path = directory.path().join(target);
    }
    let error = rustix::io::Errno::LOOP.into();
    Err(RouteFault::Path(PathFault::Directory { path, error }))
}

/// Returns the `stat` of the file that the path leads to, or of the last link if `of_link`.
pub(crate) fn stat_path(path: &Path, of_link: bool) -> io::Result<FileStat> {
    let stat = if of_link { rustix::fs::lstat(path)? } else { rustix::fs::stat(path)? };
    Ok(file_stat(&stat))
}
