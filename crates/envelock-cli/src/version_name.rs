//! Versions as an operator writes them: `orders:3`.

use crate::failure::Failure;
use envelock::KeyVersion;
use envelock::keyset::KeysetMap;
use std::fmt;
use std::str::FromStr;

/// A version of a master key: `KEY:VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionName {
    pub key: String,
    pub version: KeyVersion,
}

impl VersionName {
    /// Returns the version with the name of its key where it was named by an alias.
    ///
    /// # Errors
    ///
    /// There is no such key.
    pub fn resolved(&self, keysets: &KeysetMap) -> Result<Self, Failure> {
        let keyset = keysets.resolve(&self.key).map_err(envelock::Error::from)?;
        Ok(VersionName { key: keyset.name().to_string(), version: self.version })
    }
}

impl FromStr for VersionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A key name can have colons itself, so the last one counts.
        let (key, number) =
            text.rsplit_once(':').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                format!("{text:?} names no version: write KEY:VERSION, such as orders:3")
            })?;
        let version = number.parse().ok().and_then(KeyVersion::new);
        let version =
            version.ok_or_else(|| format!("{number:?} is no version, a number from 1 on"))?;
        Ok(VersionName { key: key.into(), version })
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.version)
    }
}

/// Returns the key, and the version if there is one, of `KEY` or `KEY:VERSION`, by its name where it is named by
/// an alias.
///
/// # Errors
///
/// There is no such key. The text is both: a key of that name, and a version of a shorter name.
pub fn key_or_version(
    keysets: &KeysetMap,
    text: &str,
) -> Result<(String, Option<KeyVersion>), Failure> {
    let version = text.parse::<VersionName>().ok();
    let version = version.filter(|it| keysets.resolve(&it.key).is_ok());
    match (keysets.resolve(text).is_ok(), version) {
        (true, Some(name)) => {
            let what =
                format!("{text:?} is a key, and version {} of key {}", name.version, name.key);
            Err(Failure::usage(what, "use an alias: `envelock key alias ALIAS KEY`"))
        }
        (_, Some(name)) => {
            let name = name.resolved(keysets)?;
            Ok((name.key, Some(name.version)))
        }
        _ => {
            let keyset = keysets.resolve(text).map_err(envelock::Error::from)?;
            Ok((keyset.name().to_string(), None))
        }
    }
}
