//! `envelock.toml`: names for keyrings and sources.
//!
//! It is read from the working directory, or from where `--config` or `ENVELOCK_CONFIG` says, and never from
//! a parent directory: it can name a PKCS#11 library, which is code that runs in this process. For the same
//! reason it must belong to the user or to root, and nobody else may write it.

use crate::commands::money;
use crate::context::variable;
use crate::failure::Failure;
use crate::keyring_locator::{KeyringLocator, is_name, rebased};
use crate::output::printable;
use crate::small_file;
use crate::source_locator::SourceLocator;
use envelock_ops::Prices;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "envelock.toml";
/// Most bytes of the file.
const MAX_LEN: usize = 1 << 20;
const VARIABLE: &str = "ENVELOCK_CONFIG";

/// Names for keyrings and sources.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The keyring of calls without `-k`: a name or a locator.
    pub keyring: Option<String>,
    #[serde(default)]
    pub keyrings: BTreeMap<String, NamedKeyring>,
    #[serde(default)]
    pub sources: BTreeMap<String, NamedSource>,
    /// Where the file is, for the relative paths of sources.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The path of the file; `None` if there is none.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

/// A keyring with a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKeyring {
    pub locator: String,
    /// The policy of `envelock status`.
    pub policy: Option<String>,
}

/// A source with a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSource {
    pub locator: String,
    /// The keyring of its messages: a name or a locator.
    pub keyring: Option<String>,
    /// What a million calls cost: `list`, `read`, `write`, `key`.
    #[serde(default)]
    pub prices: BTreeMap<String, f64>,
}

impl NamedSource {
    fn prices(&self, name: &str) -> Result<Prices, Failure> {
        let mut prices = Prices::default();
        for (call, price) in &self.prices {
            money::set_price(&mut prices, &format!("{call}={price}")).map_err(|fault| {
                let next =
                    "write `prices = { write = 5 }` for 5 of your currency for a million calls";
                Failure::usage(format!("the prices of {name}: {fault}"), next)
            })?;
        }
        Ok(prices)
    }
}

impl Config {
    /// Reads the file. Without `path` and without a file in the working directory, there are no names.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others may write it, or it has an unknown field or a wrong locator.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let given = path.map(Path::to_path_buf).or_else(|| variable(VARIABLE).map(Into::into));
        let path = given.clone().unwrap_or_else(|| FILE_NAME.into());
        let subject = printable(&path);
        let file = match small_file::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && given.is_none() => {
                return Ok(Config::default());
            }
            file => file.map_err(|error| Failure::io(&subject, &error))?,
        };
        small_file::check_owner(&path, &file, |word| {
            format!("read it, then copy it, and pass the copy by `--config`: `cp {word} own.toml`")
        })?;
        let bytes =
            small_file::read(file, MAX_LEN).map_err(|error| Failure::io(&subject, &error))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut config: Config = toml::from_str(&text).map_err(|error| {
            let what = format!("{subject}: {}", without_values(&text, &error));
            Failure::usage(what, "correct the file: the README of envelock-cli has every field")
        })?;
        config.check().map_err(|failure| failure.of(&subject))?;
        // A link can be in a directory of others.
        let real = if path.is_symlink() { path.canonicalize() } else { Ok(path.clone()) };
        let real = real.map_err(|error| Failure::io(&subject, &error))?;
        config.start_at(real.parent().unwrap_or(Path::new("")));
        config.path = Some(path);
        Ok(config)
    }

    /// Takes every relative path of the file from `directory` on.
    fn start_at(&mut self, directory: &Path) {
        let named = self.keyrings.values_mut().map(|keyring| &mut keyring.locator);
        let of_sources = self.sources.values_mut().filter_map(|source| source.keyring.as_mut());
        for locator in named.chain(of_sources).chain(&mut self.keyring) {
            *locator = rebased(locator, directory);
        }
        self.directory = directory.to_path_buf();
    }

    fn check(&self) -> Result<(), Failure> {
        let names = self.keyrings.keys().chain(self.sources.keys());
        if let Some(wrong) = names.into_iter().find(|name| !is_name(name)) {
            let next = "use letters, digits, - and _";
            return Err(Failure::usage(format!("{wrong:?} is not a name"), next));
        }
        let direct = |is_name: bool, name: &str| match is_name {
            true => {
                let what = format!("the locator of {name} is a name itself");
                Err(Failure::usage(what, "write the locator out"))
            }
            false => Ok(()),
        };
        for (name, keyring) in &self.keyrings {
            direct(KeyringLocator::parse(&keyring.locator)?.is_none(), name)?;
        }
        for (name, source) in &self.sources {
            direct(SourceLocator::parse(&source.locator)?.is_none(), name)?;
            source.prices(name)?;
        }
        Ok(())
    }

    /// Returns the locator of a keyring that is given by locator or name.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn keyring(&self, given: &str) -> Result<KeyringLocator, Failure> {
        if let Some(locator) = KeyringLocator::parse(given)? {
            return Ok(locator);
        }
        let named = self.keyrings.get(given);
        let named = named.ok_or_else(|| {
            let names = self.keyrings.keys().map(String::as_str).collect();
            self.unknown("keyring", given, names, "file:")
        })?;
        let locator = KeyringLocator::parse(&named.locator)?;
        locator.ok_or_else(|| self.unknown("keyring", given, Vec::new(), "file:"))
    }

    /// Returns the locator of a source that is given by locator or name, and the keyring of its messages.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn source(&self, given: &str) -> Result<(SourceLocator, Option<String>), Failure> {
        if let Some(locator) = SourceLocator::parse(given)? {
            return Ok((locator, None));
        }
        let named = self.sources.get(given);
        let named = named.ok_or_else(|| {
            let names = self.sources.keys().map(String::as_str).collect();
            self.unknown("source", given, names, "dir:")
        })?;
        let locator = SourceLocator::parse(&named.locator)?;
        let mut locator =
            locator.ok_or_else(|| self.unknown("source", given, Vec::new(), "dir:"))?;
        locator.relative_to(&self.directory);
        Ok((locator, named.keyring.clone()))
    }

    /// Returns the prices of a source that is given by locator or name: a locator has none.
    ///
    /// # Errors
    ///
    /// One is no price.
    pub fn prices(&self, given: &str) -> Result<Prices, Failure> {
        let named = self.sources.get(given);
        named.map_or(Ok(Prices::default()), |source| source.prices(given))
    }

    fn unknown(&self, what: &str, given: &str, names: Vec<&str>, scheme: &str) -> Failure {
        let place = match &self.path {
            Some(path) => format!("{} has {}", printable(path), list(&names)),
            None => format!("there is no {FILE_NAME} here"),
        };
        let next = format!("write `{scheme}{given}` if it is a path");
        Failure::usage(format!("there is no {what} {given:?}: {place}"), next)
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Returns where an error is and what is wrong, without the values of the file: one can be a secret.
fn without_values(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.chars().rev().take_while(|c| *c != '\n').count().saturating_add(1);
    let message = match error.message().split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("it is not {expected}"),
        _ => error.message().into(),
    };
    format!("line {line}, column {column}: {}", printable(Path::new(&message)))
}
