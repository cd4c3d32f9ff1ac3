//! A walk through the regular files of a directory tree, by ascending path.

use super::directory::is_reserved;
use crate::item::ItemKey;
use std::ffi::OsStr;
use std::fs::read_dir;
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
struct Entry(Vec<u8>);

impl Walk {
    /// Begins after a path, which need not exist.
    pub(super) fn new(root: &Path, after: Option<&ItemKey>) -> io::Result<Self> {
        let mut walk = Walk { root: root.to_path_buf(), levels: Vec::new() };
        let after = after.map_or(&[][..], ItemKey::as_bytes);
        walk.enter(&[], after)?;
        // Down to where the walk was left. Each level begins behind what is done.
        while let Some(Entry(first)) = walk.levels.last().and_then(|level| level.as_slice().first())
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
            read => read.map_err(|error| named(&path, error))?,
        };
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry.map_err(|error| named(&path, error))?;
            let kind = entry.file_type().map_err(|error| named(&path, error))?;
            let name = entry.file_name().into_vec();
            let mut below = [directory, &name].concat();
            if kind.is_dir() {
                if is_reserved(&name) {
                    continue;
                }
                below.push(b'/');
            }
            // Links, sockets and devices are no messages.
            if kind.is_dir() && after.starts_with(&below)
                || (kind.is_file() || kind.is_dir()) && below.as_slice() > after
            {
                entries.push(Entry(below));
            }
        }
        entries.sort_unstable();
        self.levels.push(entries.into_iter());
        Ok(())
    }

    /// Returns the next file.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(level) = self.levels.last_mut() {
            match level.next() {
                None => drop(self.levels.pop()),
                Some(Entry(path)) if path.ends_with(b"/") => self.enter(&path, &[])?,
                Some(Entry(path)) => return Ok(Some(path)),
            }
        }
        Ok(None)
    }
}

/// Names the directory in the text of an error.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot list {path:?}: {error}"))
}
