//! A walk through the regular files and the symbolic links of a directory tree, by ascending path.

use super::directory::is_reserved;
use crate::item::ItemKey;
use std::ffi::OsStr;
use std::fs::{FileType, read_dir};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A walk that can be left and taken up again. It holds the names of the directories that it is in.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    /// The rest of each directory, the innermost last.
    levels: Vec<std::vec::IntoIter<Entry>>,
}

/// A name in a directory: the path below the root, with a slash at the end for a directory.
///
/// So the entries of one directory have the order of all paths: `a.txt` comes before `a/b`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    path: Vec<u8>,
    is_link: bool,
}

impl Walk {
    /// Begins after a path, which need not exist.
    pub(super) fn new(root: &Path, after: Option<&ItemKey>) -> io::Result<Self> {
        let mut walk = Walk { root: root.to_path_buf(), levels: Vec::new() };
        let after = after.map_or(&[][..], ItemKey::as_bytes);
        walk.enter(&[], after)?;
        // Down to where the walk was left. Each level begins behind what is done.
        while let Some(Entry { path: first, .. }) =
            walk.levels.last().and_then(|level| level.as_slice().first())
        {
            let is_above = first.ends_with(b"/") && after.starts_with(first);
            if !is_above {
                break;
            }
            let directory = first.clone();
            if let Some(level) = walk.levels.last_mut() {
                level.next();
            }
            walk.enter(&directory, after)?;
        }
        Ok(walk)
    }

    /// Reads a directory. One that was deleted meanwhile has no entries.
    fn enter(&mut self, directory: &[u8], after: &[u8]) -> io::Result<()> {
        let path = self.root.join(OsStr::from_bytes(directory));
        let read = match read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.is_empty() => {
                return Ok(());
            }
            // It was listed as unreadable.
            Err(error) if fails_alone(&error) && after == directory && !after.is_empty() => {
                return Ok(());
            }
            read => read.map_err(|error| named(&path, error))?,
        };
        let (mut entries, mut has_job) = (Vec::new(), false);
        for entry in read {
            let entry = entry.map_err(|error| named(&path, error))?;
            let kind = entry.file_type().map_err(|error| named(&path, error))?;
            let name = entry.file_name().into_vec();
            // The files of a job are no messages.
            has_job |= name.ends_with(b".lock") && job_file(&name) == Some("lock");
            let mut below = [directory, &name].concat();
            if kind.is_dir() {
                if is_reserved(&name) {
                    continue;
                }
                below.push(b'/');
            }
            // Sockets and devices are no messages, and links lead to some.
            let (is_link, is_known) = (kind.is_symlink(), !is_special(kind));
            if kind.is_dir() && after.starts_with(&below) || is_known && below.as_slice() > after {
                entries.push(Entry { path: below, is_link });
            }
        }
        if has_job {
            let name = |Entry { path, .. }: &Entry| {
                path.get(directory.len()..).and_then(job_file).is_none()
            };
            entries.retain(name);
        }
        entries.sort_unstable();
        self.levels.push(entries.into_iter());
        Ok(())
    }

    /// Returns the next file or link and whether it is a link, or the next directory that cannot be read, with a slash at
    /// the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        while let Some(level) = self.levels.last_mut() {
            match level.next() {
                None => drop(self.levels.pop()),
                Some(Entry { path, .. }) if path.ends_with(b"/") => match self.enter(&path, &[]) {
                    Err(error) if fails_alone(&error) => return Ok(Some((path, false))),
                    entered => entered?,
                },
                Some(Entry { path, is_link }) => return Ok(Some((path, is_link))),
            }
        }
        Ok(None)
    }
}

/// Returns whether a file is neither regular nor a directory nor a link.
fn is_special(kind: FileType) -> bool {
    !(kind.is_file() || kind.is_dir() || kind.is_symlink())
}

/// Returns whether a directory cannot be read for a reason of its own: no permission, or a path that is too long. The rest
/// of the tree is listed all the same.
fn fails_alone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename)
}

/// Returns what follows the shard in the name of a file of a job, or the name itself for a file of all shards.
fn job_file(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    if name.starts_with("job.json") || name.starts_with("job.control") {
        return Some(name);
    }
    let (shard, end) = name.split_once('.')?;
    let (index, count) = shard.split_once("-of-")?;
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    (is_number(index) && is_number(count)).then_some(end)
}

/// Names the directory in the text of an error.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot list {path:?}: {error}"))
}
