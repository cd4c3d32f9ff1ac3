//! Locators of sources of messages: `dir:PATH`, `list:FILE`, `sqlite:FILE`, or a name of `envelock.toml`.

use crate::failure::Failure;
use crate::keyring_locator::is_name;
use crate::locator::{Fault, decode, pairs, path, split_query, text};
use std::path::{Path, PathBuf};

/// Where messages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLocator {
    /// `dir:PATH`: the files of a directory tree.
    Directory { path: PathBuf, header: HeaderPlace },
    /// `list:FILE`, `list:-`: paths below `root`, one on each line.
    List { from: ListFile, root: PathBuf, header: HeaderPlace },
    /// `sqlite:FILE?table=TABLE&key=COLUMN&header=COLUMN`: the rows of a table.
    Rows(Rows),
}

/// The rows of a table of a SQLite database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "feature `sqlite` opens it"))]
pub struct Rows {
    pub database: PathBuf,
    pub table: String,
    /// The column that identifies a row.
    pub key: String,
    pub value: RowValue,
}

/// The column with the header, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowValue {
    /// `header=COLUMN`: the header alone.
    Header(String),
    /// `message=COLUMN`: the whole message.
    Message(String),
}

/// Where the paths of a list come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFile {
    StandardInput,
    File(PathBuf),
}

/// Where the header of a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPlace {
    /// At the start of the file.
    Inline,
    /// In a file of its own, whose name has this end.
    Sidecar { suffix: String },
}

/// The end of the names of headers, unless the locator has another.
const DEFAULT_SUFFIX: &str = ".header";

impl SourceLocator {
    /// Parses a locator; `None` for a name of `envelock.toml`.
    ///
    /// # Errors
    ///
    /// The text is no locator and no name.
    pub fn parse(given: &str) -> Result<Option<Self>, Failure> {
        let parsed = match given.split_once(':') {
            Some((kind @ ("dir" | "list"), rest)) => source(kind, rest),
            Some(("sqlite", rest)) => rows(rest).map(SourceLocator::Rows),
            Some((scheme, _)) => Err(format!("there is no kind of source {scheme:?}")),
            None if is_name(given) => return Ok(None),
            None => Err("it is neither a locator nor a name of envelock.toml".into()),
        };
        parsed.map(Some).map_err(|fault| {
            let next = "write `dir:PATH`, `dir:PATH?header=sidecar`, `list:FILE`, `list:-`, \
                        `sqlite:FILE?table=TABLE&key=COLUMN&header=COLUMN`, or a name of envelock.toml";
            Failure::usage(format!("source {given:?}: {fault}"), next)
        })
    }

    /// Takes relative paths from `directory` on.
    pub fn relative_to(&mut self, directory: &Path) {
        match self {
            SourceLocator::Directory { path, .. } => *path = directory.join(&*path),
            SourceLocator::List { from, root, .. } => {
                *root = directory.join(&*root);
                if let ListFile::File(path) = from {
                    *path = directory.join(&*path);
                }
            }
            SourceLocator::Rows(rows) => rows.database = directory.join(&rows.database),
        }
    }

    /// Returns the directory that items are paths below; `None` for rows.
    pub fn root(&self) -> Option<&Path> {
        match self {
            SourceLocator::Directory { path: root, .. } | SourceLocator::List { root, .. } => {
                Some(root)
            }
            SourceLocator::Rows(_) => None,
        }
    }
}

fn rows(rest: &str) -> Result<Rows, Fault> {
    let (encoded, query) = split_query(rest);
    let database = path("sqlite", decode(encoded)?)?;
    let (mut table, mut key, mut header, mut message) = (None, None, None, None);
    for (name, value) in pairs(query.unwrap_or_default(), '&')? {
        let given = match name {
            "table" => &mut table,
            "key" => &mut key,
            "header" => &mut header,
            "message" => &mut message,
            _ => {
                return Err(format!(
                    "there is no parameter {name:?} but table, key, header, message"
                ));
            }
        };
        *given = Some(text(name, value)?);
    }
    let value = match (header, message) {
        (Some(column), None) => RowValue::Header(column),
        (None, Some(column)) => RowValue::Message(column),
        _ => {
            return Err(
                "name one column: header=COLUMN, or message=COLUMN for whole messages".into()
            );
        }
    };
    Ok(Rows {
        database,
        table: table.ok_or("name the table: table=TABLE")?,
        key: key.ok_or("name the column that identifies a row: key=COLUMN")?,
        value,
    })
}

fn source(kind: &str, rest: &str) -> Result<SourceLocator, Fault> {
    let (encoded, query) = split_query(rest);
    let place = path(kind, decode(encoded)?)?;
    let (mut header, mut suffix, mut root) = (None, None, None);
    for (name, value) in pairs(query.unwrap_or_default(), '&')? {
        match name {
            "header" => header = Some(text(name, value)?),
            "suffix" => suffix = Some(text(name, value)?),
            "root" if kind == "list" => root = Some(path(name, value)?),
            _ => {
                let root = if kind == "list" { ", root" } else { "" };
                return Err(format!("there is no parameter {name:?} but header, suffix{root}"));
            }
        }
    }
    let header = match (header.as_deref(), suffix) {
        (None | Some("inline"), None) => HeaderPlace::Inline,
        (Some("sidecar"), suffix) => {
            HeaderPlace::Sidecar { suffix: suffix.unwrap_or_else(|| DEFAULT_SUFFIX.into()) }
        }
        (None | Some("inline"), Some(_)) => {
            return Err("suffix is for headers apart: add header=sidecar".into());
        }
        (Some(other), _) => return Err(format!("header is inline or sidecar, not {other:?}")),
    };
    Ok(match kind {
        "list" => SourceLocator::List {
            from: match place == Path::new("-") {
                true => ListFile::StandardInput,
                false => ListFile::File(place),
            },
            root: root.unwrap_or_else(|| ".".into()),
            header,
        },
        _ => SourceLocator::Directory { path: place, header },
    })
}
