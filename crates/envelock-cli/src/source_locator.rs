//! Locators of sources of messages: `dir:PATH`, `list:FILE`, or a name of `envelock.toml`.

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
            Some((scheme, _)) => Err(format!("there is no kind of source {scheme:?}")),
            None if is_name(given) => return Ok(None),
            None => Err("it is neither a locator nor a name of envelock.toml".into()),
        };
        parsed.map(Some).map_err(|fault| {
            let next = "write `dir:PATH`, `dir:PATH?header=sidecar`, `list:FILE`, `list:-`, or a name of \
                        envelock.toml";
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
        }
    }
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
