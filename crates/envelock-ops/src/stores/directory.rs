//! Directory trees of messages.

use super::walk::Walk;
use crate::item::{ItemKey, Listed, MAX_ITEM_KEY_LEN, Page};
use crate::medium::medium_id;
use crate::rewrite::Rewrite;
use crate::store::{
    CompareAndSwap, Expected, MovesBodies, Properties, Replaced, Store, StoredHeader,
};
use crate::store_error::StoreError;
use envelock::file::{FileError, MessageFile, MessageFileError, reencrypt, replace_header};
use envelock::{Envelope, Error, Keyring, OsRandom, RandomSource};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What the library leaves beside a message: a journal, and files that are not finished.
const JOURNAL: &str = ".envelock-rewrap";
const PARTIAL: &str = ".envelock-partial";

/// How many bytes of a file that is no message are read.
const FIRST_BYTES: u64 = 64;

/// Where the headers of a directory tree stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// At the start of each file. Every regular file is an item.
    Inline,
    /// In a file of its own whose name ends so, such as `.header`. Only these files, and symbolic links, are items.
    Sidecar {
        /// The end of the names of headers.
        suffix: String,
    },
}

/// The messages in a directory tree, each under its path below the root. Symbolic links are listed as such and not followed, and the
/// files that jobs leave in their directories are not listed. A directory without permission to read it is an item that fails, and so is a path that is too long.
///
/// A header is replaced as by [`envelock::file::rewrap`]: in place with a journal, or by a copy that is renamed if its
/// length changes. A directory `.*.envelock-partial` is not listed, such as the scratch directory of a test. The modification time of the file changes, so that backups find it. Writers that do not use the
/// lock of the library (`flock`) can be missed, so the compare-and-swap is advisory.
pub struct Directory<K, R = OsRandom> {
    root: PathBuf,
    layout: Layout,
    envelope: Envelope<K, R>,
    /// The root as it was when it was first looked at.
    id: OnceLock<Option<String>>,
    /// The listing where it was left, with the last key that it returned.
    walk: Mutex<Option<(Option<ItemKey>, Walk)>>,
}

impl<K: Keyring, R: RandomSource> Directory<K, R> {
    /// Returns the messages below `root`. The keys of `envelope` decide which header is right where a crash tore one.
    pub fn new(root: impl Into<PathBuf>, layout: Layout, envelope: Envelope<K, R>) -> Self {
        let (id, walk) = (OnceLock::new(), Mutex::new(None));
        Directory { root: root.into(), layout, envelope, id, walk }
    }

    /// Returns that an item does not exist, unless its path is too long or the whole root is another one than before.
    fn gone<T>(&self, path: &Path) -> Result<Option<T>, StoreError> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                Err(StoreError::broken(format!("shorten the path, then run another job: {error}")))
            }
            _ => self.is_there().map(|()| None),
        }
    }

    fn checked(&self, replaced: Replaced) -> Result<Replaced, StoreError> {
        if replaced == Replaced::Gone {
            self.is_there()?;
        }
        Ok(replaced)
    }

    /// Reports that another directory is there than before, such as the mount point of what was unmounted.
    fn is_there(&self) -> Result<(), StoreError> {
        let id = medium_id(&self.root).map_err(StoreError::unavailable)?;
        match self.id.get_or_init(|| Some(id.clone())) {
            Some(before) if *before != id => Err(StoreError::unavailable(format!(
                "{:?} is another directory than before",
                self.root
            ))),
            _ => Ok(()),
        }
    }

    fn path(&self, item: &ItemKey) -> Result<PathBuf, StoreError> {
        let bytes = item.as_bytes();
        let is_name = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        if !bytes.split(|&byte| byte == b'/').all(is_name) || !self.is_item(bytes) {
            return Err(StoreError::broken("it is not the path of a message below the root"));
        }
        Ok(self.root.join(OsStr::from_bytes(bytes)))
    }

    fn is_item(&self, path: &[u8]) -> bool {
        let name = name_of(path);
        match &self.layout {
            Layout::Inline => !is_reserved(name),
            Layout::Sidecar { suffix } => !is_reserved(name) && name.ends_with(suffix.as_bytes()),
        }
    }

    fn list_from(&self, walk: &mut Walk, after: Option<&ItemKey>, most: usize) -> io::Result<Page> {
        let mut page = Page::default();
        while page.items.len() < most {
            let Some((path, is_link)) = walk.next()? else {
                page.is_last = true;
                break;
            };
            // What a link leads to has any name, and is not looked at.
            let is_item = if is_link { !is_reserved(name_of(&path)) } else { self.is_item(&path) };
            if !is_item && !path.ends_with(b"/") {
                continue;
            }
            // A path that no call takes is an item that fails, by its beginning, which no call takes either.
            let listed = path.get(..MAX_ITEM_KEY_LEN).unwrap_or(&path);
            let Some(key) = ItemKey::new(listed) else { continue };
            if page.items.last().map(|item| &item.key).or(after) == Some(&key) {
                continue;
            }
            // The length is for statistics; a file that was deleted has none.
            let metadata = std::fs::symlink_metadata(self.root.join(OsStr::from_bytes(&path)));
            let bytes = metadata.ok().filter(|_| !is_link).map(|metadata| metadata.len());
            page.items.push(Listed { is_link, ..Listed::new(key, bytes) });
        }
        Ok(page)
    }
}

impl<K: Keyring, R: RandomSource + Send + Sync> Store for Directory<K, R> {
    fn properties(&self) -> Properties {
        let root = self.root.display();
        let name = match &self.layout {
            Layout::Inline => format!("dir:{root}"),
            Layout::Sidecar { suffix } => format!("dir:{root}?sidecar={suffix}"),
        };
        Properties {
            name,
            id: self.id.get_or_init(|| medium_id(&self.root).ok()).clone(),
            compare_and_swap: CompareAndSwap::Advisory,
            moves_bodies: match self.layout {
                Layout::Inline => MovesBodies::OtherLength,
                Layout::Sidecar { .. } => MovesBodies::Never,
            },
            // Two files are not replaced at once.
            rewrites_bodies: self.layout == Layout::Inline,
            // The times of a file change with its header, or with a copy of the file.
            dates_bodies: false,
        }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        let mut left = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the listing goes on, no directory is read again.
        let walk = match left.take() {
            Some((last, walk)) if last.as_ref() == after && after.is_some() => Ok(walk),
            _ => Walk::new(&self.root, after),
        };
        let mut walk = walk.map_err(StoreError::unavailable)?;
        let page = self.list_from(&mut walk, after, most).map_err(StoreError::unavailable)?;
        self.is_there()?;
        *left = Some((page.items.last().map(|item| item.key.clone()), walk));
        Ok(page)
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        if item.as_bytes().ends_with(b"/") {
            let why = "directory could not be listed: make it readable, then run another job";
            return Err(StoreError::broken(why));
        }
        let path = self.path(item)?;
        let header = match MessageFile::open(&path) {
            Ok(message) => message.header().to_vec(),
            Err(error) => match is_missing(&error) || is_absent(&path) {
                true => return self.gone(&path),
                false if error.backend::<MessageFileError>().is_some() => {
                    return Err(StoreError::envelope(error));
                }
                false => match first_bytes(&path, &error) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return self.gone(&path);
                    }
                    bytes => bytes.map_err(StoreError::broken)?,
                },
            },
        };
        // The journal is removed once the header is durable.
        let is_unsettled = journal(&path).symlink_metadata().is_ok();
        Ok(Some(StoredHeader { header, is_unsettled, ..StoredHeader::default() }))
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        let path = self.path(item)?;
        // No message has bytes that are no header.
        if envelock::inspect(expected.header).is_err() {
            return Ok(Replaced::Conflict);
        }
        let replaced = replace_header(&self.envelope, &path, expected.header, new);
        self.checked(replaced_by(&path, replaced.map(|change| change.is_some()))?)
    }

    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        mut new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        if self.layout != Layout::Inline {
            return Err(StoreError::broken(
                "a header in a file of its own has its body in another",
            ));
        }
        let (path, stream) = (self.path(item)?, new.stream()?);
        let aad = new.associated_data();
        let replaced = reencrypt(&self.envelope, &path, expected.header, stream, aad);
        self.checked(replaced_by(&path, replaced)?)
    }

    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        self.replace(item, expected, expected.header)
    }
}

impl<K, R> fmt::Debug for Directory<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("root", &self.root)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Whether a file or directory of this name is no item: a journal, or what is not finished.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b".")
        && (name.ends_with(JOURNAL.as_bytes()) || name.ends_with(PARTIAL.as_bytes()))
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn journal(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(JOURNAL);
    path.with_file_name(name)
}

/// Reads what a file that is no message begins with: all of its header if that is malformed.
fn first_bytes(path: &Path, error: &Error) -> io::Result<Vec<u8>> {
    let most = match error {
        Error::NotEnvelock { .. } => FIRST_BYTES,
        _ => envelock::format::MAX_HEADER_LEN as u64,
    };
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_missing(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::File(FileError::NotFound { .. })))
}

/// Returns whether a path does not exist, or a directory on the way to it.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    })
}

fn is_changed(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::File(FileError::Changed { .. })))
}

fn replaced_by(path: &Path, replaced: Result<bool, Error>) -> Result<Replaced, StoreError> {
    match replaced {
        Ok(true) => Ok(Replaced::Done),
        Ok(false) => Ok(Replaced::Conflict),
        // A process without the lock was faster.
        Err(error) if is_changed(&error) => Ok(Replaced::Conflict),
        Err(error) if is_missing(&error) || is_absent(path) => Ok(Replaced::Gone),
        // The condition, or what is there, is no header of the same message.
        Err(Error::OtherMessage { .. }) => Ok(Replaced::Conflict),
        Err(error) => Err(StoreError::envelope(error)),
    }
}
