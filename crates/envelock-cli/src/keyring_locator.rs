//! Locators of keyrings: `file:orders.keys`, `pkcs11:token=orders` (RFC 7512), `transit:orders`, or a name of
//! `envelock.toml`.

use crate::failure::Failure;
use crate::locator::{Fault, decode, encode, pairs, path, split_query, text};
use crate::secrets::SecretSource;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where a keyring is, and how it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyringLocator {
    /// `file:PATH?PARAMETERS`
    File(KeyFile),
    /// `pkcs11:ATTRIBUTES?PARAMETERS`
    Token(TokenCatalogue),
    /// `transit:KEY;ATTRIBUTES?PARAMETERS`
    Service(ServiceKey),
}

/// A key file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    pub path: PathBuf,
    /// The master key to wrap under, if the file has several.
    pub key: Option<String>,
    pub passphrase: Option<SecretSource>,
    /// A file with the raw key of 32 bytes, or its 64 hexadecimal digits.
    pub raw_key: Option<PathBuf>,
    /// The keyring that protects the file: a locator or a name.
    pub outer: Option<String>,
}

/// A catalogue of master keys on a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCatalogue {
    pub token: Option<String>,
    pub serial: Option<String>,
    /// The master key to wrap under: the attribute `object`.
    pub key: Option<String>,
    /// The PKCS#11 library.
    pub module: PathBuf,
    pub pin: Option<SecretSource>,
    /// The key file with the records of the keys: the parameter `x-catalogue`.
    pub catalogue: PathBuf,
}

/// A key in the Transit engine of OpenBao or Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "transit"), allow(dead_code, reason = "feature `transit` opens it"))]
pub struct ServiceKey {
    pub key: String,
    /// Where the service is, if not where `BAO_ADDR` or `VAULT_ADDR` says.
    pub address: Option<String>,
    /// The path of the engine, if it is not `transit`.
    pub mount: Option<String>,
    pub namespace: Option<String>,
    /// The source of the token, if it is not `BAO_TOKEN` or `VAULT_TOKEN`.
    pub token: Option<SecretSource>,
    /// The certificates of the authorities to trust, as PEM: the parameter `ca-file`.
    pub authorities: Option<PathBuf>,
}

impl KeyringLocator {
    /// Parses a locator; `None` for a name of `envelock.toml`.
    ///
    /// # Errors
    ///
    /// The text is no locator and no name.
    pub fn parse(given: &str) -> Result<Option<Self>, Failure> {
        let parsed = match given.split_once(':') {
            Some(("file", rest)) => file(rest).map(KeyringLocator::File),
            Some(("pkcs11", rest)) => token(rest).map(KeyringLocator::Token),
            Some(("transit", rest)) => service(rest).map(KeyringLocator::Service),
            Some((scheme, _)) => Err(format!("there is no kind of keyring {scheme:?}")),
            None if is_name(given) => return Ok(None),
            None => Err("it is neither a locator nor a name of envelock.toml".into()),
        };
        parsed.map(Some).map_err(|fault| {
            let next = "write `file:PATH`, `pkcs11:token=LABEL?module-path=PATH&x-catalogue=PATH`, \
                        `transit:KEY;address=URL?token-file=PATH`, or a name of envelock.toml";
            // A parameter can be a secret.
            let place = given.split(['?', ';', '&']).next().unwrap_or_default();
            Failure::usage(format!("keyring {place:?}: {fault}"), next)
        })
    }
}

/// Returns a locator whose relative paths start at `directory`. A name, and what is no locator, stays as it is.
pub fn rebased(given: &str, directory: &Path) -> String {
    let Some((scheme @ ("file" | "pkcs11" | "transit"), rest)) = given.split_once(':') else {
        return given.into();
    };
    let (path, query) = split_query(rest);
    let path = if scheme == "file" { joined(path, directory) } else { path.into() };
    let Some(query) = query else { return format!("{scheme}:{path}") };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((
            name @ ("passphrase-file" | "raw-key-file" | "x-catalogue" | "token-file" | "ca-file"),
            path,
        )) => {
            format!("{name}={}", joined(path, directory))
        }
        Some(("pin-source", source)) if !source.starts_with('|') => {
            let file = source.strip_prefix("file:").unwrap_or(source);
            format!("pin-source={}", joined(file, directory))
        }
        Some(("outer", outer)) => {
            let decoded = decode(outer).ok().and_then(|outer| String::from_utf8(outer).ok());
            let outer = decoded.map(|outer| encode(rebased(&outer, directory).as_bytes()));
            outer.map_or(pair.into(), |outer| format!("outer={outer}"))
        }
        _ => pair.into(),
    };
    let query: Vec<String> = query.split('&').map(pair).collect();
    format!("{scheme}:{path}?{}", query.join("&"))
}

/// Returns an encoded path from `directory` on, unless it is absolute, empty or not decodable.
fn joined(encoded: &str, directory: &Path) -> String {
    match decode(encoded) {
        Ok(path) if !path.is_empty() && !path.starts_with(b"/") => {
            let path = directory.join(OsString::from_vec(path));
            encode(path.as_os_str().as_bytes())
        }
        _ => encoded.into(),
    }
}

/// Whether a text can be a name in `envelock.toml`.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn file(rest: &str) -> Result<KeyFile, Fault> {
    let (encoded, query) = split_query(rest);
    // RFC 8089: `file:///path`, and no other host than this one.
    let encoded = match encoded.strip_prefix("//") {
        Some(local) if local.starts_with('/') => local,
        Some(_) => return Err("a key file is on this machine: write file:PATH".into()),
        None => encoded,
    };
    let mut file = KeyFile { path: path("file:", decode(encoded)?)?, ..KeyFile::default() };
    for (name, value) in pairs(query.unwrap_or_default(), '&')? {
        match name {
            "key" => file.key = Some(text(name, value)?),
            "passphrase-file" if file.passphrase.is_none() => {
                file.passphrase = Some(SecretSource::File(path(name, value)?));
            }
            "passphrase-env" if file.passphrase.is_none() => {
                file.passphrase = Some(SecretSource::Variable(text(name, value)?));
            }
            "passphrase-file" | "passphrase-env" => {
                return Err("it has two sources of one passphrase".into());
            }
            "raw-key-file" => file.raw_key = Some(path(name, value)?),
            "outer" => file.outer = Some(text(name, value)?),
            "passphrase" => return Err(in_argv("passphrase", "passphrase-file=PATH")),
            _ => {
                return Err(format!(
                    "there is no parameter {name:?} but key, passphrase-file, passphrase-env, \
                     raw-key-file, outer"
                ));
            }
        }
    }
    let protections = [file.passphrase.is_some(), file.raw_key.is_some(), file.outer.is_some()];
    match protections.iter().filter(|given| **given).count() {
        0 | 1 => Ok(file),
        _ => Err("it names several of passphrase, raw-key-file and outer".into()),
    }
}

fn token(rest: &str) -> Result<TokenCatalogue, Fault> {
    let (attributes, query) = split_query(rest);
    let mut token = TokenCatalogue::default();
    for (name, value) in pairs(attributes, ';')? {
        match name {
            "token" => token.token = Some(text(name, value)?),
            "serial" => token.serial = Some(text(name, value)?),
            "object" => token.key = Some(text(name, value)?),
            _ => {
                return Err(format!(
                    "attribute {name:?} selects nothing here: use token, serial, object (the master key)"
                ));
            }
        }
    }
    for (name, value) in pairs(query.unwrap_or_default(), '&')? {
        match name {
            "module-path" => token.module = path(name, value)?,
            "pin-source" => token.pin = Some(pin_source(&text(name, value)?)?),
            "x-catalogue" => token.catalogue = path(name, value)?,
            "pin-value" => return Err(in_argv("PIN", "pin-source=file:PATH")),
            "module-name" => return Err("name the library by module-path, not module-name".into()),
            _ => {
                return Err(format!(
                    "there is no parameter {name:?} but module-path, pin-source, x-catalogue"
                ));
            }
        }
    }
    match () {
        () if token.token.is_none() && token.serial.is_none() => {
            Err("it selects no token: token=LABEL or serial=NUMBER is missing".into())
        }
        () if !token.module.is_absolute() => {
            Err("module-path=PATH is missing or not absolute: the PKCS#11 library".into())
        }
        () if token.catalogue.as_os_str().is_empty() => {
            Err("x-catalogue=PATH is missing: the key file with the records of the keys".into())
        }
        () => Ok(token),
    }
}

fn service(rest: &str) -> Result<ServiceKey, Fault> {
    let (of_key, query) = split_query(rest);
    let (key, attributes) = of_key.split_once(';').unwrap_or((of_key, ""));
    let mut service = ServiceKey { key: text("transit:", decode(key)?)?, ..ServiceKey::default() };
    if service.key.is_empty() {
        return Err("it names no key: write transit:KEY".into());
    }
    for (name, value) in pairs(attributes, ';')? {
        let value = Some(text(name, value)?);
        match name {
            "address" => service.address = value,
            "mount" => service.mount = value,
            "namespace" => service.namespace = value,
            "token" => return Err(in_argv("token", "?token-file=PATH")),
            _ => {
                return Err(format!(
                    "there is no attribute {name:?} but address, mount, namespace"
                ));
            }
        }
    }
    for (name, value) in pairs(query.unwrap_or_default(), '&')? {
        match name {
            "token-file" if service.token.is_none() => {
                service.token = Some(SecretSource::File(path(name, value)?));
            }
            "token-env" if service.token.is_none() => {
                service.token = Some(SecretSource::Variable(text(name, value)?));
            }
            "token-file" | "token-env" => return Err("it has two sources of one token".into()),
            "ca-file" => service.authorities = Some(path(name, value)?),
            "token" => return Err(in_argv("token", "token-file=PATH")),
            _ => {
                return Err(format!(
                    "there is no parameter {name:?} but token-file, token-env, ca-file"
                ));
            }
        }
    }
    Ok(service)
}

/// RFC 7512, section 2.4: a path, or a `file:` URI. A command after `|` is not run.
fn pin_source(value: &str) -> Result<SecretSource, Fault> {
    if value.starts_with('|') {
        return Err("pin-source runs no command: write the PIN to a file of mode 0600".into());
    }
    let file = value.strip_prefix("file:").unwrap_or(value);
    let file = file.strip_prefix("//").unwrap_or(file);
    Ok(SecretSource::File(path("pin-source", file.as_bytes().to_vec())?))
}

fn in_argv(what: &str, instead: &str) -> Fault {
    format!("every user of this machine can read a {what} in an argument: use {instead}")
}
