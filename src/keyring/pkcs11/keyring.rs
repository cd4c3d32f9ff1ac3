//! Master keys that a token generates, with their records in a key file.

use super::key::generate::TokenSource;
use super::token::Token;
use super::token_protection::CatalogueKeyring;
use crate::OsRandom;
use crate::file::{FileError, FileKeyring, FileKeyringOptions, KeyFileError, Protection};
use crate::format::KeyVersion;
use crate::keyring::wrapping_key::KeyMaterialStore;
use crate::keyring::{Keyring, Lifecycle, forward_keyring};
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap, VersionRecord};
use crate::random::KeyringRng;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use std::path::Path;

/// Master keys that never leave a PKCS#11 token, with their records in a key file.
///
/// The token generates the key material, and wraps and unwraps data keys: with AES-256-GCM if it
/// supports it (wrap algorithm 2), else with AES-256-CBC and HMAC-SHA-256 (wrap algorithm 3). Names,
/// versions, states, dates and usage are in a key file, the *catalogue*. The documentation of [`FileKeyring`]
/// on processes, crashes and backups applies to it. The catalogue contains no key
/// material, so that its content may be public. It is authenticated under a key of the token, so
/// that only users of the token can change it.
///
/// ```no_run
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, Lifecycle, Pkcs11Keyring, pkcs11};
///
/// let token = pkcs11::Options::new("/usr/lib/softhsm/libsofthsm2.so")
///     .token_label("orders")
///     .pin_file("/run/secrets/orders.pin")
///     .token()?;
/// let keyring = Pkcs11Keyring::create("orders.keys", "orders", &token)?; // later: open
/// let envelope = Envelope::new(&keyring);
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// keyring.rotate()?;
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// ```
///
/// # Recovery
///
/// An operation opens sessions, logs in, connects and restarts the library again as needed, for as
/// long as [`Options::recovery_timeout`](crate::pkcs11::Options::recovery_timeout) allows. After
/// that it fails with a [`pkcs11::Error`](crate::pkcs11::Error). Each wrapped key is unwrapped and
/// compared before it is used. A refused unwrap counts as a forgery only once the token has proven
/// that it has no fault.
///
/// # Destruction
///
/// A version is recorded as destroyed first, and then destroyed on the token. If that fails, the
/// error reports it, and the next change tries again.
///
/// # Limits
///
/// Under wrap algorithm 2 a version wraps at most 2^32 data keys, which the catalogue counts over all
/// processes. After that, [`Error::WrapLimit`](crate::Error::WrapLimit) asks for a rotation. Key
/// material cannot be imported. For keys that are on the token already, there is
/// [`ExternalKeyring`](crate::pkcs11::ExternalKeyring).
#[derive(Debug)]
pub struct Pkcs11Keyring {
    catalogue: FileKeyring,
    token: Token,
}

impl Pkcs11Keyring {
    /// Creates a catalogue with the master key `key`, whose version 1 the token generates.
    ///
    /// # Errors
    ///
    /// A [`pkcs11::Error`](crate::pkcs11::Error) of the token; a
    /// [`KeyFileError`](crate::file::KeyFileError) if the file exists or cannot be written.
    pub fn create(path: impl AsRef<Path>, key: &str, token: &Token) -> Result<Self, crate::Error> {
        Pkcs11Keyring::create_with(&FileKeyringOptions::new(), path, key, token)
    }

    /// Creates a catalogue with `options`.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub fn create_with(
        options: &FileKeyringOptions,
        path: impl AsRef<Path>,
        key: &str,
        token: &Token,
    ) -> Result<Self, crate::Error> {
        let generated = CatalogueKeyring::generate(token.clone(), &mut OsRandom);
        let created = generated.and_then(|keyring| {
            let keyring = Arc::new(keyring);
            let protection = Protection::keyring(keyring.clone());
            let created = options.create_with(path.as_ref(), key, &protection, source(token));
            if created.as_ref().is_err_and(|error| !may_be_written(error)) {
                keyring.discard();
            }
            created
        });
        token.events().publish();
        created.map(|catalogue| Pkcs11Keyring { catalogue, token: token.clone() })
    }

    /// Opens a catalogue, to wrap under its master key or alias `key`.
    ///
    /// Needs the token, which proves that the catalogue is authentic.
    ///
    /// # Errors
    ///
    /// A [`pkcs11::Error`](crate::pkcs11::Error) of the token; a
    /// [`KeyFileError`](crate::file::KeyFileError) if the file does not exist or is damaged;
    /// [`LifecycleError::UnknownKey`].
    pub fn open(path: impl AsRef<Path>, key: &str, token: &Token) -> Result<Self, crate::Error> {
        Pkcs11Keyring::open_any(path, token)?.with_key(key)
    }

    /// Opens a catalogue without the name of a key, for tools. [`FileKeyring::open_any`] documents
    /// which key it wraps under.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_any(path: impl AsRef<Path>, token: &Token) -> Result<Self, crate::Error> {
        Pkcs11Keyring::open_with(&FileKeyringOptions::new(), path, token)
    }

    /// Opens a catalogue with `options`, without the name of a key.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(
        options: &FileKeyringOptions,
        path: impl AsRef<Path>,
        token: &Token,
    ) -> Result<Self, crate::Error> {
        let protection = Protection::keyring(Arc::new(CatalogueKeyring::open(token.clone())));
        Pkcs11Keyring::open_protected(options, path, token, &protection)
    }

    /// Opens a catalogue that has another protection than the token
    /// ([`FileKeyring::add_protection`], [`FileKeyring::replace_file_key`]). The key material is on
    /// the token all the same.
    ///
    /// With that protection, the catalogue can be changed without the token. It gives no access to
    /// key material.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_protected(
        options: &FileKeyringOptions,
        path: impl AsRef<Path>,
        token: &Token,
        protection: &Protection,
    ) -> Result<Self, crate::Error> {
        let opened = options.open_with(path.as_ref(), protection, &source(token));
        token.events().publish();
        opened.map(|catalogue| Pkcs11Keyring { catalogue, token: token.clone() })
    }

    /// Returns the same catalogue, to wrap under another of its master keys.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn with_key(&self, name: &str) -> Result<Self, crate::Error> {
        self.catalogue.with_key(name).map(|catalogue| self.with_catalogue(catalogue))
    }

    /// Returns the same catalogue, restricted to one of its master keys
    /// ([`FileKeyring::only_key`]).
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn only_key(&self, name: &str) -> Result<Self, crate::Error> {
        self.catalogue.only_key(name).map(|catalogue| self.with_catalogue(catalogue))
    }

    /// Returns the same catalogue, which refuses compromised versions
    /// ([`FileKeyring::refusing_compromised`]).
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        self.with_catalogue(self.catalogue.refusing_compromised())
    }

    /// Returns the catalogue, for its path, change number, errors and protections.
    pub fn catalogue(&self) -> &FileKeyring {
        &self.catalogue
    }

    /// Returns the primary version of the master key.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.catalogue.primary_version()
    }

    /// Returns the record of every version of the master key, lowest first.
    pub fn versions(&self) -> Vec<VersionRecord> {
        self.catalogue.versions()
    }

    fn with_catalogue(&self, catalogue: FileKeyring) -> Self {
        Pkcs11Keyring { catalogue, token: self.token.clone() }
    }

    /// The catalogue. The events of its use are delivered on drop, once no lock is held.
    fn observed(&self) -> ObservedCatalogue<'_> {
        ObservedCatalogue(self)
    }
}

struct ObservedCatalogue<'a>(&'a Pkcs11Keyring);

impl Deref for ObservedCatalogue<'_> {
    type Target = FileKeyring;

    fn deref(&self) -> &FileKeyring {
        &self.0.catalogue
    }
}

impl Drop for ObservedCatalogue<'_> {
    fn drop(&mut self) {
        // An observer that panics while a panic unwinds would end the process. The next call delivers.
        if !std::thread::panicking() {
            self.0.token.events().publish();
        }
    }
}

/// Whether the key file may exist although its creation failed.
fn may_be_written(error: &crate::Error) -> bool {
    matches!(error.backend(), Some(KeyFileError::File(FileError::NotDurable { .. })))
}

fn source(token: &Token) -> Arc<dyn KeyMaterialStore> {
    Arc::new(TokenSource(token.clone()))
}

impl Keyring for Pkcs11Keyring {
    forward_keyring!(self => self.catalogue; visit_primaries, holds, freshness);
    forward_keyring!(self => self.observed(); wrap, wrap_under, unwrap);
}

impl Lifecycle for Pkcs11Keyring {
    fn key(&self) -> &str {
        self.catalogue.key()
    }

    fn keysets(&self) -> Result<KeysetMap, crate::Error> {
        self.catalogue.keysets()
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        terms: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, crate::Error> {
        self.observed().change(changes, terms, rng)
    }
}
