//! Master keys on a token, with their records in a key file.

use super::catalogue::CatalogueKeyring;
use super::key::generate::TokenSource;
use super::token::Token;
use crate::OsRandom;
use crate::crypto::secret::DataKey;
use crate::file::{FileKeyring, FileKeyringOptions, KeyFileError, Protection};
use crate::format::{KeyName, KeyVersion, Slot};
use crate::keyring::held::KeySource;
use crate::keyring::{Keyring, KeyringError, Lifecycle, SlotWriter, WrapContext, forward_keyring};
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap, VersionRecord};
use crate::random::KeyringRng;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::path::Path;

/// Master keys that never leave a PKCS#11 token, with their records in a key file.
///
/// The token generates and holds the key material, and wraps and unwraps data keys: by AES-256-GCM
/// where it can (wrap algorithm 2), else by AES-256-CBC and HMAC-SHA-256 (3). Names, versions,
/// states, dates and usage stand in a key file, the *catalogue*, as those of a [`FileKeyring`] do;
/// all that is said there of several processes, crashes and backups holds. The catalogue holds no
/// key material, so that anyone may read it; it is authenticated under a key of the token, so that
/// only who may use the token can change it.
///
/// ```no_run
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, Lifecycle, Pkcs11Keyring, pkcs11::Options};
///
/// let token = Options::new("/usr/lib/softhsm/libsofthsm2.so")
///     .token_label("orders")
///     .pin_file("/run/secrets/orders.pin")
///     .token()?;
/// let keyring = Pkcs11Keyring::create("orders.keys", "orders", &token)?; // then: open
/// let envelope = Envelope::new(&keyring);
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// keyring.rotate()?;
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// ```
///
/// # A token that fails
///
/// Sessions, the login, the connection and the library are made anew as needed, for as long as
/// [`Options::recovery_timeout`](crate::pkcs11::Options::recovery_timeout) says, and callers see nothing of it.
/// What does not come back is [`Error::Backend`](crate::Error::Backend) with a [`Error`](crate::pkcs11::Error) as
/// its source. Each wrap is unwrapped and compared before it is given out, and a refused unwrap is
/// taken for a forgery only once the token has proven that it is well.
///
/// # Destruction
///
/// A version is destroyed on record first and on the token then. If that fails, the error says so,
/// and the next change tries it again.
///
/// # Limits
///
/// Under wrap algorithm 2 a version wraps at most 2^32 data keys, counted in the catalogue over all
/// processes; then [`Error::WrapLimit`](crate::Error::WrapLimit) asks for a rotation. Key material cannot be imported
/// ([`LifecycleError::ImportRefused`](crate::keyset::LifecycleError::ImportRefused)); keys that are on the token already are for a
/// [`ExternalKeyring`](crate::pkcs11::ExternalKeyring).
#[derive(Debug)]
pub struct Pkcs11Keyring {
    catalogue: FileKeyring,
    token: Token,
}

impl Pkcs11Keyring {
    /// Makes a catalogue with one master key `key`, whose version 1 the token generates.
    ///
    /// # Errors
    ///
    /// As [`FileKeyring::create`]; [`Error::Backend`](crate::Error::Backend).
    pub fn create(path: impl AsRef<Path>, key: &str, token: &Token) -> Result<Self, crate::Error> {
        FileKeyringOptions::new().create_on_token(path, key, token)
    }

    /// Opens a catalogue, to wrap under its master key or alias `key`.
    ///
    /// The token has to be there: it proves that the catalogue is authentic.
    ///
    /// # Errors
    ///
    /// As [`FileKeyring::open`].
    pub fn open(path: impl AsRef<Path>, key: &str, token: &Token) -> Result<Self, crate::Error> {
        Pkcs11Keyring::open_any(path, token)?.with_key(key)
    }

    /// Opens a catalogue, for tools. Which key it wraps under: as [`FileKeyring::open_any`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_any(path: impl AsRef<Path>, token: &Token) -> Result<Self, crate::Error> {
        FileKeyringOptions::new().open_on_token(path, token)
    }

    /// As [`FileKeyring::with_key`].
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn with_key(&self, name: &str) -> Result<Self, crate::Error> {
        self.catalogue.with_key(name).map(|catalogue| self.with_catalogue(catalogue))
    }

    /// As [`FileKeyring::only_key`].
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn only_key(&self, name: &str) -> Result<Self, crate::Error> {
        self.catalogue.only_key(name).map(|catalogue| self.with_catalogue(catalogue))
    }

    /// As [`FileKeyring::refusing_compromised`].
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        self.with_catalogue(self.catalogue.refusing_compromised())
    }

    /// The catalogue: its path, change number and errors, and how it is protected.
    pub fn catalogue(&self) -> &FileKeyring {
        &self.catalogue
    }

    /// The primary version of this keyring's master key.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.catalogue.primary_version()
    }

    /// The record of every version of this keyring's master key, lowest first.
    pub fn versions(&self) -> Vec<VersionRecord> {
        self.catalogue.versions()
    }

    fn with_catalogue(&self, catalogue: FileKeyring) -> Self {
        Pkcs11Keyring { catalogue, token: self.token.clone() }
    }

    /// Has the catalogue do something, and the observer hear of it once no lock is held.
    fn with_events<T>(&self, work: impl FnOnce(&FileKeyring) -> T) -> T {
        let outcome = work(&self.catalogue);
        self.token.0.events.publish();
        outcome
    }
}

/// Whether the key file that was to be written may have been written all the same.
fn may_be_written(error: &crate::Error) -> bool {
    matches!(error.backend(), Some(KeyFileError::NotDurable { .. }))
}

impl FileKeyringOptions {
    /// As [`Pkcs11Keyring::create`], with these options for the catalogue.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_on_token(
        &self,
        path: impl AsRef<Path>,
        key: &str,
        token: &Token,
    ) -> Result<Pkcs11Keyring, crate::Error> {
        let created = CatalogueKeyring::make(token.0.clone(), &mut OsRandom).and_then(|seal| {
            let seal = Arc::new(seal);
            let protection = Protection::keyring(seal.clone());
            let created = self.create_with(path.as_ref(), key, &protection, source(token));
            if created.as_ref().is_err_and(|error| !may_be_written(error)) {
                seal.discard();
            }
            created
        });
        token.0.events.publish();
        created.map(|catalogue| Pkcs11Keyring { catalogue, token: token.clone() })
    }

    /// As [`Pkcs11Keyring::open_any`], with these options for the catalogue.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_on_token(
        &self,
        path: impl AsRef<Path>,
        token: &Token,
    ) -> Result<Pkcs11Keyring, crate::Error> {
        let protection = Protection::keyring(Arc::new(CatalogueKeyring::open(token.0.clone())));
        self.open_on_token_with(path, token, &protection)
    }

    /// As [`open_on_token`](Self::open_on_token), of a catalogue that has another protection
    /// ([`FileKeyring::add_protection`], [`FileKeyring::replace_file_key`]): the key material is on
    /// the token all the same.
    ///
    /// Whoever has that protection can change what the catalogue says without the token; nobody
    /// gets key material by it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_on_token_with(
        &self,
        path: impl AsRef<Path>,
        token: &Token,
        protection: &Protection,
    ) -> Result<Pkcs11Keyring, crate::Error> {
        let opened = self.open_with(path.as_ref(), protection, &source(token));
        token.0.events.publish();
        opened.map(|catalogue| Pkcs11Keyring { catalogue, token: token.clone() })
    }
}

fn source(token: &Token) -> Arc<dyn KeySource> {
    Arc::new(TokenSource(token.0.clone()))
}

impl Keyring for Pkcs11Keyring {
    forward_keyring!(self => self.catalogue; primary, holds, freshness);

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.with_events(|catalogue| catalogue.wrap(data_key, context, slots, rng))
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.with_events(|catalogue| catalogue.wrap_under(name, data_key, context, slots, rng))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.with_events(|catalogue| catalogue.unwrap(slot, context, data_key))
    }
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
        self.with_events(|catalogue| catalogue.change(changes, terms, rng))
    }
}
