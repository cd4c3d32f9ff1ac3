//! A keyring that was opened, of any kind.

use crate::failure::{Exit, Failure};
#[cfg(feature = "transit")]
use crate::service_keyring::ServiceKeyring;
use crate::version_name::VersionName;
use envelock::file::FileKeyring;
use envelock::keyset::{Change, ChangeOptions, KeysetMap, LifecycleError};
use envelock::{Envelope, Error, Keyring, Lifecycle};
use std::sync::Arc;

/// A keyring that was opened.
pub struct OpenKeyring {
    pub kind: OpenKind,
    /// Its name or locator, as it was given.
    pub given: String,
}

/// Its kind.
#[derive(Clone)]
pub enum OpenKind {
    File(Arc<FileKeyring>),
    #[cfg(feature = "pkcs11")]
    Token(Arc<envelock::Pkcs11Keyring>),
    #[cfg(feature = "transit")]
    Service(Arc<ServiceKeyring>),
}

impl OpenKeyring {
    /// Returns the keyring with its operations for operators.
    pub fn lifecycle(&self) -> Arc<dyn Lifecycle> {
        match &self.kind {
            OpenKind::File(keyring) => keyring.clone(),
            #[cfg(feature = "pkcs11")]
            OpenKind::Token(keyring) => keyring.clone(),
            #[cfg(feature = "transit")]
            OpenKind::Service(keyring) => keyring.clone(),
        }
    }

    /// Returns an envelope of the keyring.
    pub fn envelope(&self) -> Envelope<Arc<dyn Keyring>> {
        Envelope::new(self.lifecycle())
    }

    /// Whether it takes key material from outside. Tokens and services generate their own.
    pub fn imports(&self) -> bool {
        matches!(self.kind, OpenKind::File(_))
    }

    /// Returns the key file, or the catalogue of the token; none of a service.
    fn key_file(&self) -> Option<&FileKeyring> {
        match &self.kind {
            OpenKind::File(keyring) => Some(keyring),
            #[cfg(feature = "pkcs11")]
            OpenKind::Token(keyring) => Some(keyring.catalogue()),
            #[cfg(feature = "transit")]
            OpenKind::Service(_) => None,
        }
    }

    /// Returns the key file, or the catalogue of the token.
    ///
    /// # Errors
    ///
    /// The keys are those of a service.
    pub fn file(&self) -> Result<&FileKeyring, Failure> {
        self.key_file().ok_or_else(|| {
            let what = "the keys of a service are in no key file";
            let next = "name a key file by `-k file:PATH`, or a token";
            Failure::new(Exit::Refused, what, next).of(format!("keyring {}", self.given))
        })
    }

    /// Checks that a service offers the changes, which every other keyring does.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NotOffered`].
    pub fn check_offered(
        &self,
        before: &KeysetMap,
        changes: &[Change<'_>],
        options: &ChangeOptions,
    ) -> Result<(), LifecycleError> {
        match &self.kind {
            #[cfg(feature = "transit")]
            OpenKind::Service(keyring) => keyring.check_offered(before, changes, options),
            _ => {
                let _ = (before, changes, options);
                Ok(())
            }
        }
    }

    /// Returns the number of the last change, and none of a service: there a later change can have a smaller one.
    pub fn change_number(&self) -> Option<u64> {
        self.key_file().map(FileKeyring::change_number)
    }

    /// Returns the ids of the master keys, oldest first, which tell the keyring from others of its name.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub fn ids(&self) -> Result<Vec<String>, Failure> {
        let versions = match self.key_file() {
            Some(file) => file.versions(),
            None => self.lifecycle().keyset()?.versions().to_vec(),
        };
        let mut ids: Vec<_> = versions.iter().map(|it| it.master_key_id.to_string()).collect();
        // All versions of a service's key have one.
        ids.dedup();
        Ok(ids)
    }

    /// Returns whether `version` is the primary of its key.
    ///
    /// # Errors
    ///
    /// The keyring has no such key or version.
    pub fn is_primary(&self, version: &VersionName) -> Result<bool, Failure> {
        let keysets = self.lifecycle().keysets()?;
        let keyset = keysets.resolve(&version.key).map_err(Error::from)?;
        if keyset.version(version.version).is_none() {
            let (key, version) = (keyset.name().to_string(), version.version);
            return Err(Error::from(LifecycleError::UnknownVersion { key, version }).into());
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
            #[cfg(feature = "transit")]
            OpenKind::Service(keyring) if keyring.key() == name => self.kind.clone(),
            #[cfg(feature = "transit")]
            OpenKind::Service(_) => {
                let key = name.into();
                return Err(Error::from(LifecycleError::UnknownKey { key }).into());
            }
        };
        Ok(OpenKeyring { kind, given: self.given.clone() })
    }

    /// Writes the counts of wraps that this process has not written yet.
    ///
    /// # Errors
    ///
    /// The key file cannot be written.
    pub fn flush(&self) -> Result<(), Failure> {
        Ok(self.key_file().map_or(Ok(()), FileKeyring::flush)?)
    }
}
