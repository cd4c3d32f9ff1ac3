//! Keyrings that are opened, or created, by their locator.

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::keyring_locator::{KeyFile, KeyringLocator, ServiceKey, TokenCatalogue};
use crate::locator::encode;
pub use crate::opened_keyring::OpenKeyring;
use crate::opened_keyring::OpenKind;
use crate::output::printable;
use crate::secrets::{self, PASSPHRASE, Secret, SecretOptions, SecretSource, hexadecimal};
use envelock::MasterKey;
use envelock::file::{FileKeyring, FileKeyringOptions, Protection, ProtectionKind, Salvage};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most key files that protect one another.
const MAX_DEPTH: u8 = 4;

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
        let is_given = |source: &Option<SecretSource>| {
            source.as_ref().is_some_and(|source| !source.is_ambient())
        };
        let (is_unused, what) = match opening.locator {
            KeyringLocator::File(_) => (is_given(&pin), "a key file has no PIN"),
            KeyringLocator::Token(_) => (is_given(&passphrase), "a token has no passphrase"),
            KeyringLocator::Service(_) => {
                (is_given(&pin) || is_given(&passphrase), "a service has no passphrase and no PIN")
            }
        };
        match is_unused {
            true => {
                Err(Failure::usage(what, "leave the option out").of(format!("keyring {given}")))
            }
            false => Ok(Opening { passphrase, pin, is_of_call: true, ..opening }),
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
            KeyringLocator::Service(key) => self.open_service(key),
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
            KeyringLocator::Service(_) => {
                let next = format!("`envelock key create {key}` creates the key in it");
                Err(Failure::usage("a service is there already", next))
            }
        };
        created.map_err(|failure| failure.of(format!("keyring {}", self.given)))
    }

    /// Reads what is intact of a damaged key file. Returns the secret that opens it, too.
    ///
    /// # Errors
    ///
    /// It is no key file, or the secret does not open it.
    pub fn salvage(&self) -> Result<(Salvage, Protection), Failure> {
        let KeyringLocator::File(file) = &self.locator else {
            return Err(Failure::usage(
                "it is no key file",
                "name the damaged file: `-k file:PATH`",
            ));
        };
        // Of a file whose header is damaged, nothing but the locator says which secret it has.
        let records = FileKeyring::read_protections(&file.path).unwrap_or_default();
        let is_open = records.iter().any(|it| it.kind == Some(ProtectionKind::Unprotected));
        let kind = match file {
            KeyFile { raw_key: Some(_), .. } => ProtectionKind::RawKey,
            KeyFile { outer: Some(_), .. } => ProtectionKind::Keyring,
            _ if is_open => ProtectionKind::Unprotected,
            _ => ProtectionKind::Passphrase,
        };
        let protection = self.protection(file, kind, false)?;
        Ok((Salvage::read(&file.path, &protection)?, protection))
    }

    /// The path of the key file or catalogue; a service has none.
    pub fn path(&self) -> Option<&Path> {
        match &self.locator {
            KeyringLocator::File(file) => Some(&file.path),
            KeyringLocator::Token(token) => Some(&token.catalogue),
            KeyringLocator::Service(_) => None,
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
        let path = self.path().unwrap_or(Path::new(""));
        let path = encode(path.as_os_str().as_bytes());
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
            Vec::from_iter(self.path().map(Path::to_path_buf)),
            match &self.locator {
                KeyringLocator::File(file) => self.passphrase.as_ref().or(file.passphrase.as_ref()),
                KeyringLocator::Token(token) => self.pin.as_ref().or(token.pin.as_ref()),
                KeyringLocator::Service(key) => key.token.as_ref(),
            },
        );
        files.extend(secret.and_then(SecretSource::file));
        match &self.locator {
            KeyringLocator::File(file) => {
                files.extend(file.raw_key.clone());
                if let Some(outer) = &file.outer {
                    files.extend(self.outer(outer)?.files()?);
                }
            }
            KeyringLocator::Token(_) => {}
            KeyringLocator::Service(key) => files.extend(key.authorities.clone()),
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

    #[cfg(feature = "transit")]
    fn open_service(&self, locator: &ServiceKey) -> Result<OpenKeyring, Failure> {
        let keyring = Arc::new(crate::service_keyring::open(locator)?);
        Ok(OpenKeyring { kind: OpenKind::Service(keyring), given: self.given.clone() })
    }

    #[cfg(not(feature = "transit"))]
    fn open_service(&self, locator: &ServiceKey) -> Result<OpenKeyring, Failure> {
        let what = format!("the service of key {} needs a build with feature transit", locator.key);
        let next = "`cargo install envelock-cli --features transit`";
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
