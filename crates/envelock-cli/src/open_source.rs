//! Stores of the sources that locators name.

use crate::failure::{Exit, Failure};
use crate::locator::encode;
use crate::output::printable;
use crate::source_locator::{HeaderPlace, ListFile, RowValue, SourceLocator};
use envelock::{Envelope, Keyring, MemoryKeyring};
use envelock_ops::stores::{Directory, Layout, Selection};
use envelock_ops::{
    Expected, ItemKey, Page, Properties, Replaced, Rewrite, Store, StoreError, StoredHeader,
};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The store of a source.
pub type OpenStore = Box<dyn Store>;

/// Opens a source. The keys decide which header is right where a crash tore one.
///
/// # Errors
///
/// There is no such directory or table, or the list cannot be read.
pub fn open_source(
    source: &SourceLocator,
    envelope: Envelope<Arc<dyn Keyring>>,
) -> Result<OpenStore, Failure> {
    let directory = |root: &Path, header: &HeaderPlace| {
        let subject = printable(root);
        let root = std::path::absolute(root).map_err(|error| Failure::io(&subject, &error))?;
        let metadata = root.metadata().map_err(|error| Failure::io(&subject, &error))?;
        if !metadata.is_dir() {
            let what = format!("{subject} is not a directory");
            return Err(Failure::usage(what, "name the directory: `dir:PATH`"));
        }
        let layout = match header {
            HeaderPlace::Inline => Layout::Inline,
            HeaderPlace::Sidecar { suffix } => Layout::Sidecar { suffix: suffix.clone() },
        };
        Ok(Directory::new(root, layout, envelope))
    };
    Ok(match source {
        SourceLocator::Directory { path, header } => Box::new(directory(path, header)?),
        SourceLocator::List { from, root, header } => {
            let items = read_list(from, root, header)?;
            let name = match from {
                ListFile::StandardInput => "list -".into(),
                ListFile::File(path) => format!("list {}", absolute(path)?.display()),
            };
            let store = Selection::new(directory(root, header)?, &name, items);
            Box::new(store.with_digest().requiring(|_| true))
        }
        SourceLocator::Rows(rows) => crate::open_rows::open_rows(rows)?,
    })
}

/// Opens a source for reading alone, without keys.
///
/// # Errors
///
/// Those of [`open_source`].
pub fn open_to_read(source: &SourceLocator) -> Result<OpenStore, Failure> {
    // Only a replacement asks the keys of a directory.
    let unused: Arc<dyn Keyring> = Arc::new(MemoryKeyring::create("unused")?);
    let store = open_source(source, Envelope::new(unused))?;
    Ok(Box::new(ReadOnly(store)))
}

/// A store that cannot be written.
pub struct ReadOnly<S>(pub S);

/// A store with another name.
pub struct Renamed<S> {
    pub store: S,
    /// Added to the name of the store.
    pub suffix: String,
}

impl<S: Store> Store for Renamed<S> {
    fn properties(&self) -> Properties {
        let properties = self.store.properties();
        Properties { name: format!("{}{}", properties.name, self.suffix), ..properties }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        self.store.list(after, most)
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        self.store.read(item)
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        self.store.replace(item, expected, new)
    }

    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        self.store.rewrite(item, expected, new)
    }

    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        self.store.settle(item, expected)
    }
}

impl<S: Store> Store for ReadOnly<S> {
    fn properties(&self) -> Properties {
        self.0.properties()
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        self.0.list(after, most)
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        self.0.read(item)
    }

    fn replace(&self, _: &ItemKey, _: Expected<'_>, _: &[u8]) -> Result<Replaced, StoreError> {
        Err(StoreError::broken("the store is open for reading alone"))
    }
}

/// Returns a path from the root of the file system on.
///
/// # Errors
///
/// There is no working directory, or the path is empty.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io(printable(path), &error))
}

/// Returns the locator of a source with absolute paths, so that it means the same in every directory.
///
/// # Errors
///
/// It is standard input, which cannot be read a second time.
pub fn lasting_locator(source: &SourceLocator) -> Result<String, Failure> {
    let encoded = |path: &Path| absolute(path).map(|path| encode(path.as_os_str().as_bytes()));
    let (kind, path, mut query, header) = match source {
        SourceLocator::Directory { path, header } => ("dir", encoded(path)?, Vec::new(), header),
        SourceLocator::List { from: ListFile::File(path), root, header } => {
            ("list", encoded(path)?, vec![format!("root={}", encoded(root)?)], header)
        }
        SourceLocator::List { from: ListFile::StandardInput, .. } => {
            let next = "write the list to a file, so that the job can be resumed: `list:FILE`";
            return Err(Failure::usage("a job reads its list more than once", next));
        }
        SourceLocator::Rows(rows) => {
            let encoded_text = |text: &str| encode(text.as_bytes());
            let (kind, column) = match &rows.value {
                RowValue::Header(column) => ("header", column),
                RowValue::Message(column) => ("message", column),
            };
            return Ok(format!(
                "sqlite:{}?table={}&key={}&{kind}={}",
                encoded(&rows.database)?,
                encoded_text(&rows.table),
                encoded_text(&rows.key),
                encoded_text(column)
            ));
        }
    };
    if let HeaderPlace::Sidecar { suffix } = header {
        query.push(format!("header=sidecar&suffix={}", encode(suffix.as_bytes())));
    }
    let query = query.join("&");
    Ok(format!("{kind}:{path}{}{query}", if query.is_empty() { "" } else { "?" }))
}

/// Reads paths, one on each line, from the root on or below it.
fn read_list(from: &ListFile, root: &Path, header: &HeaderPlace) -> Result<Vec<ItemKey>, Failure> {
    let mut bytes = Vec::new();
    let (subject, read) = match from {
        ListFile::StandardInput => {
            crate::closed::check_standard_input()?;
            ("standard input".into(), std::io::stdin().lock().read_to_end(&mut bytes).map(drop))
        }
        ListFile::File(path) => {
            (printable(path), std::fs::read(path).map(|content| bytes = content))
        }
    };
    read.map_err(|error| Failure::io(&subject, &error))?;
    let root = [absolute(root)?.as_os_str().as_bytes(), b"/"].concat();
    let mut items = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let below = line.strip_prefix(root.as_slice()).unwrap_or(line);
        let below = below.strip_prefix(b"./").unwrap_or(below);
        let mut path = below.to_vec();
        if let HeaderPlace::Sidecar { suffix } = header
            && !path.ends_with(suffix.as_bytes())
        {
            path.extend_from_slice(suffix.as_bytes());
        }
        let item = ItemKey::new(&path).filter(|_| !below.starts_with(b"/"));
        items.push(item.ok_or_else(|| {
            let line = String::from_utf8_lossy(line).into_owned();
            let what = format!("{subject}: {} is not below the root", printable(Path::new(&line)));
            Failure::new(Exit::Usage, what, "name the root: `list:FILE?root=PATH`")
        })?);
    }
    Ok(items)
}
