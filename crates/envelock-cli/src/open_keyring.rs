//! Keyrings that are opened, or created, by their locator.

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::keyring_locator::{KeyFile, KeyringLocator, TokenCatalogue};
use crate::locator::encode;
use crate::output::printable;
use crate::secrets::{self, PASSPHRASE, Secret, SecretOptions, SecretSource, hexadecimal};
use crate::version_name::VersionName;
use envelock::file::{FileKeyring, FileKeyringOptions, Protection, ProtectionKind};
use envelock::keyset::LifecycleError;
use envelock::{Envelope, Keyring, Lifecycle, MasterKey};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most key files that protect one another.
const MAX_DEPTH: u8 = 4;

/// A keyring that was opened.
pub struct OpenKeyring {
    kind: OpenKind,
    /// Its name or locator, as it was given.
    pub given: String,
}

enum OpenKind {
    File(Arc<FileKeyring>),
    #[cfg(feature = "pkcs11")]
    Token(Arc<envelock::Pkcs11Keyring>),
}

impl OpenKeyring {
    /// Returns the keyring with its operations for operators.
    pub fn lifecycle(&self) -> Arc<dyn Lifecycle> {
        match &self.kind {
            OpenKind::File(keyring) => keyring.clone(),
            #[cfg(feature = "pkcs11")]
            OpenKind::Token(keyring) => keyring.clone(),
        }
    }

    /// Returns an envelope of the keyring.
    pub fn envelope(&self) -> Envelope<Arc<dyn Keyring>> {
        Envelope::new(self.lifecycle())
    }

    /// Whether it takes key material from outside. A token generates its own.
    pub fn imports(&self) -> bool {
        matches!(self.kind, OpenKind::File(_))
    }

    /// Returns the key file, or the catalogue of the token.
    pub fn file(&self) -> &FileKeyring {
        match &self.kind {
            OpenKind::File(keyring) => keyring,
            #[cfg(feature = "pkcs11")]
            OpenKind::Token(keyring) => keyring.catalogue(),
        }
    }

    /// Returns the ids of the master keys, oldest first, which tell the keyring from others of its name.
    pub fn ids(&self) -> Vec<String> {
        let versions = self.file().versions();
        versions.iter().map(|version| version.master_key_id.to_string()).collect()
    }

    /// Returns whether `version` is the primary of its key.
    ///
    /// # Errors
    ///
    /// The keyring has no such key or version.
    pub fn is_primary(&self, version: &VersionName) -> Result<bool, Failure> {
        let keysets = self.file().keysets()?;
        let keyset = keysets.resolve(&version.key).map_err(envelock::Error::from)?;
        if keyset.version(version.version).is_none() {
            let (key, version) = (keyset.name().to_string(), version.version);
            return Err(
                envelock::Error::from(LifecycleError::UnknownVersion { key, version }).into()
            );
        }
        Ok(keyset.primary() == Some(version.version))
    }

    /// Returns the same keyring, wrapping under the master key or alias `name`.
    ///
    /// # Errors
    ///
    /// It has no such key.
    pub fn with_key(&self, name: &str) -> Result<Self, Failure> {
        let kind = match &self.kind {
            OpenKind::File(keyring) => OpenKind::File(Arc::new(keyring.with_key(name)?)),
            #[cfg(feature = "pkcs11")]
            OpenKind::Token(keyring) => OpenKind::Token(Arc::new(keyring.with_key(name)?)),
        };
        Ok(OpenKeyring { kind, given: self.given.clone() })
    }

    /// Writes the counts of wraps that this process has not written yet.
    ///
    /// # Errors
    ///
    /// The key file cannot be written.
    pub fn flush(&self) -> Result<(), Failure> {
        Ok(self.file().flush()?)
    }
}

/// How a keyring opens: its locator and the source of its secret.
pub struct Opening<'a> {
    config: &'a Config,
    given: String,
    locator: KeyringLocator,
    passphrase: Option<SecretSource>,
    pin: Option<SecretSource>,
    depth: u8,
    /// It is the keyring of `-k`, which the options of secrets belong to.
    is_of_call: bool,
    /// Whether wraps are counted in the file.
    counts: bool,
}

impl<'a> Opening<'a> {
    /// Returns how the keyring of a call opens, whose options name its secrets.
    pub fn new(config: &'a Config, given: &str, options: &SecretOptions) -> Result<Self, Failure> {
        let opening = Opening::other(config, given)?;
        let (passphrase, pin) = (options.passphrase(), options.pin());
        let (unused, what) = match opening.locator {
            KeyringLocator::File(_) => (&pin, "a key file has no PIN"),
            KeyringLocator::Token(_) => (&passphrase, "a token has no passphrase"),
        };
        match unused {
            Some(source) if !source.is_ambient() => {
                Err(Failure::usage(what, "leave the option out").of(format!("keyring {given}")))
            }
            _ => Ok(Opening { passphrase, pin, is_of_call: true, ..opening }),
        }
    }

    /// Returns how another keyring opens.
    pub fn other(config: &'a Config, given: &str) -> Result<Self, Failure> {
        let locator = config.keyring(given)?;
        Ok(Opening {
            config,
            given: given.into(),
            locator,
            passphrase: None,
            pin: None,
            depth: 0,
            is_of_call: false,
            counts: true,
        })
    }

    /// Counts the wraps of the keyring or not.
    pub fn counting(self, counts: bool) -> Self {
        Opening { counts, ..self }
    }

    fn options(&self) -> FileKeyringOptions {
        let options = FileKeyringOptions::new();
        if self.counts { options } else { options.without_usage() }
    }

    /// Opens the keyring.
    ///
    /// # Errors
    ///
    /// There is no such file or token, or its secret is wrong.
    pub fn open(&self) -> Result<OpenKeyring, Failure> {
        let opened = match &self.locator {
            KeyringLocator::File(file) => self.open_file(file),
            KeyringLocator::Token(token) => self.open_token(token, None),
        };
        opened.map_err(|failure| failure.of(format!("keyring {}", self.given)))
    }

    /// Creates the keyring with a first master key `key`. A key file gets the protection that its locator
    /// names, or a passphrase; none if `is_unprotected`.
    ///
    /// # Errors
    ///
    /// It exists, or cannot be written.
    pub fn create(&self, key: &str, is_unprotected: bool) -> Result<OpenKeyring, Failure> {
        let created = match &self.locator {
            KeyringLocator::File(file) => {
                let kind = match file {
                    _ if is_unprotected => ProtectionKind::Unprotected,
                    KeyFile { raw_key: Some(_), .. } => ProtectionKind::RawKey,
                    KeyFile { outer: Some(_), .. } => ProtectionKind::Keyring,
                    _ => ProtectionKind::Passphrase,
                };
                let is_used = self.check_protection(file, kind);
                is_used.and_then(|()| self.protection(file, kind, true)).and_then(|protection| {
                    Ok(self.opened(FileKeyring::create(&file.path, key, &protection)?))
                })
            }
            KeyringLocator::Token(token) => self.open_token(token, Some(key)),
        };
        created.map_err(|failure| failure.of(format!("keyring {}", self.given)))
    }

    /// The path of the key file or catalogue.
    pub fn path(&self) -> &Path {
        match &self.locator {
            KeyringLocator::File(file) => &file.path,
            KeyringLocator::Token(token) => &token.catalogue,
        }
    }

    fn opened(&self, keyring: FileKeyring) -> OpenKeyring {
        OpenKeyring { kind: OpenKind::File(Arc::new(keyring)), given: self.given.clone() }
    }

    fn open_file(&self, file: &KeyFile) -> Result<OpenKeyring, Failure> {
        let records = FileKeyring::read_protections(&file.path)?;
        let has = |kind| records.iter().any(|record| record.kind == Some(kind));
        // What needs no person comes first.
        let kind = match file {
            KeyFile { raw_key: Some(_), .. } => ProtectionKind::RawKey,
            KeyFile { outer: Some(_), .. } => ProtectionKind::Keyring,
            _ if has(ProtectionKind::Unprotected) => ProtectionKind::Unprotected,
            _ if has(ProtectionKind::Passphrase) => ProtectionKind::Passphrase,
            _ if has(ProtectionKind::Keyring) => {
                let next = "name it in the locator: `file:PATH?outer=KEYRING`";
                return Err(Failure::usage("another keyring protects the file", next));
            }
            _ => {
                let next = "name its file in the locator: `file:PATH?raw-key-file=PATH`";
                return Err(Failure::usage("a raw key protects the file", next));
            }
        };
        self.check_protection(file, kind)?;
        let protection = self.protection(file, kind, false)?;
        let keyring = self.options().open_any(&file.path, &protection)?;
        let keyring = match &file.key {
            Some(key) => keyring.with_key(key)?,
            None => keyring,
        };
        Ok(self.opened(keyring))
    }

    /// Refuses a secret that is given and not used: another file has the name, or keys go to the medium in the
    /// clear.
    fn check_protection(&self, file: &KeyFile, kind: ProtectionKind) -> Result<(), Failure> {
        let passphrase = self.passphrase.as_ref().or(file.passphrase.as_ref());
        let is_unused = match kind {
            ProtectionKind::Passphrase => false,
            ProtectionKind::Unprotected => {
                passphrase.is_some() || file.raw_key.is_some() || file.outer.is_some()
            }
            _ => passphrase.is_some_and(|source| !source.is_ambient()),
        };
        if !is_unused {
            return Ok(());
        }
        let what = match kind {
            ProtectionKind::Unprotected => "a secret is given for a key file without protection",
            _ => "a passphrase is given for a key file that is protected otherwise",
        };
        let next = "make sure that it is the right file, then leave out the secret, its option or variable";
        Err(Failure::new(Exit::Refused, what, next))
    }

    fn protection(
        &self,
        file: &KeyFile,
        kind: ProtectionKind,
        is_new: bool,
    ) -> Result<Protection, Failure> {
        Ok(match (kind, &file.raw_key, &file.outer) {
            (ProtectionKind::RawKey, Some(path), _) => Protection::raw_key(raw_key(path)?),
            (ProtectionKind::Keyring, _, Some(outer)) => {
                Protection::keyring(self.outer(outer)?.open()?.lifecycle())
            }
            (ProtectionKind::Unprotected, ..) => Protection::unprotected_plaintext(),
            _ => Protection::passphrase(&*self.passphrase(file, is_new)?),
        })
    }

    /// Returns a new protection of the key file. `secret` is the parameter of a locator that has it, or `passphrase`, which is
    /// asked for.
    ///
    /// # Errors
    ///
    /// The secret cannot be read, or the outer keyring does not open.
    pub fn new_protection(&self, secret: &str) -> Result<Protection, Failure> {
        let query = if secret == "passphrase" { String::new() } else { format!("?{secret}") };
        let path = encode(self.path().as_os_str().as_bytes());
        let new = Opening::other(self.config, &format!("file:{path}{query}"))?;
        let KeyringLocator::File(file) = &new.locator else {
            return Err(Failure::usage("a token protects itself", "name a key file by `-k`"));
        };
        let kind = match file {
            KeyFile { raw_key: Some(_), .. } => ProtectionKind::RawKey,
            KeyFile { outer: Some(_), .. } => ProtectionKind::Keyring,
            KeyFile { passphrase: None, .. } if secret != "passphrase" => {
                let what = format!("{secret:?} names no secret");
                let next = "write `passphrase`, passphrase-file=PATH, passphrase-env=NAME, raw-key-file=PATH or \
                            outer=KEYRING";
                return Err(Failure::usage(what, next));
            }
            _ => ProtectionKind::Passphrase,
        };
        new.protection(file, kind, true)
    }

    fn passphrase(&self, file: &KeyFile, is_new: bool) -> Result<Secret, Failure> {
        match self.passphrase.as_ref().or(file.passphrase.as_ref()) {
            Some(source) => source.read("passphrase"),
            None => secrets::ask(PASSPHRASE, &self.given, self.is_of_call, is_new),
        }
        .and_then(|secret| {
            if is_new {
                secrets::check_new(&secret)?;
            }
            Ok(secret)
        })
    }

    /// Returns the files of the keyring, its secret, and the keyrings that protect it.
    ///
    /// # Errors
    ///
    /// A locator of those is wrong.
    pub fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let (mut files, secret) = (
            vec![self.path().to_path_buf()],
            match &self.locator {
                KeyringLocator::File(file) => self.passphrase.as_ref().or(file.passphrase.as_ref()),
                KeyringLocator::Token(token) => self.pin.as_ref().or(token.pin.as_ref()),
            },
        );
        files.extend(secret.and_then(SecretSource::file));
        if let KeyringLocator::File(file) = &self.locator {
            files.extend(file.raw_key.clone());
            if let Some(outer) = &file.outer {
                files.extend(self.outer(outer)?.files()?);
            }
        }
        Ok(files)
    }

    /// Returns how the keyring that protects this one opens.
    fn outer(&self, given: &str) -> Result<Opening<'a>, Failure> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            let what = format!("more than {MAX_DEPTH} keyrings protect one another");
            return Err(Failure::usage(what, "correct `outer` in the locators"));
        }
        Ok(Opening { depth, ..Opening::other(self.config, given)? })
    }

    #[cfg(feature = "pkcs11")]
    fn open_token(
        &self,
        locator: &TokenCatalogue,
        create: Option<&str>,
    ) -> Result<OpenKeyring, Failure> {
        use envelock::Pkcs11Keyring;
        use envelock::pkcs11::{Options, Pin};

        let mut options = Options::new(&locator.module);
        if let Some(label) = &locator.token {
            options = options.token_label(label);
        }
        if let Some(serial) = &locator.serial {
            options = options.token_serial(serial);
        }
        let pin = match self.pin.as_ref().or(locator.pin.as_ref()) {
            Some(source) => source.read("PIN")?,
            None => secrets::ask(secrets::PIN, &self.given, self.is_of_call, false)?,
        };
        let token = options.pin_from(move || Ok(Pin::new(&*pin))).token()?;
        let keyring = match create {
            Some(key) => Pkcs11Keyring::create(&locator.catalogue, key, &token)?,
            None => Pkcs11Keyring::open_with(&self.options(), &locator.catalogue, &token)?,
        };
        let keyring = match &locator.key {
            Some(key) if create.is_none() => keyring.with_key(key)?,
            _ => keyring,
        };
        Ok(OpenKeyring { kind: OpenKind::Token(Arc::new(keyring)), given: self.given.clone() })
    }

    #[cfg(not(feature = "pkcs11"))]
    fn open_token(
        &self,
        locator: &TokenCatalogue,
        _: Option<&str>,
    ) -> Result<OpenKeyring, Failure> {
        let what = format!("the token {:?} needs a build with feature pkcs11", locator.token);
        let next = "`cargo install envelock-cli --features pkcs11`";
        Err(Failure::new(Exit::CouldNotRun, what, next))
    }
}

/// Reads a raw key: 32 bytes, or 64 hexadecimal digits.
fn raw_key(path: &Path) -> Result<MasterKey, Failure> {
    let bytes = SecretSource::File(path.into()).read_bytes("raw key")?;
    if let Some(key) = MasterKey::from_slice(&bytes) {
        return Ok(key);
    }
    hexadecimal(&bytes).and_then(|key| MasterKey::from_slice(&key)).ok_or_else(|| {
        let path = printable(path);
        let what = format!("{path} is no raw key of 32 bytes or 64 hexadecimal digits");
        Failure::new(Exit::CouldNotRun, what, "check the path of `raw-key-file`")
    })
}
