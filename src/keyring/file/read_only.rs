//! A key file that is used and never changed.

use super::error::KeyFileError;
use super::health::KeyFileHealth;
use super::keyring::FileKeyring;
use super::options::{FileKeyringOptions, software};
use super::protection::Protection;
use super::protection_record::{OuterFreshness, ProtectionRecord};
use super::storage::in_memory::{BytesDirectory, NAME};
use super::storage::{MAX_KEY_FILE_LEN, Store};
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::{Keyring, Lifecycle, forward_keyring};
use crate::keyset::{KeysetMap, VersionRecord};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::ffi::OsStr;
use std::path::Path;

/// A [`FileKeyring`] without a lifecycle: it wraps and unwraps, and nobody can rotate or destroy
/// anything through it.
///
/// It takes no lock, writes nothing, and follows what others change in the file. The keys can also
/// come from anywhere else ([`from_bytes`](Self::from_bytes)): an environment variable, a secret
/// manager, a mount that cannot be watched.
///
/// ```
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, FileKeyring, file::{Protection, ReadOnlyFileKeyring}};
///
/// # let directory = std::env::temp_dir().join(format!("envelock-ro-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("orders.keys");
/// let passphrase = Protection::passphrase("correct horse battery staple");
/// # FileKeyring::create(&path, "orders", &passphrase)?;
/// let secret = std::fs::read(&path).unwrap(); // As a secret manager hands it out.
/// let keyring = ReadOnlyFileKeyring::from_bytes(&secret, "orders", &passphrase)?;
/// let message = Envelope::new(&keyring).encrypt(b"hello", Aad::none())?;
/// # assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none())?, b"hello");
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok(())
/// # }
/// ```
pub struct ReadOnlyFileKeyring {
    keyring: FileKeyring,
    /// What the keyring reads where it is no file.
    bytes: Option<Arc<BytesDirectory>>,
}

impl ReadOnlyFileKeyring {
    /// Opens a key file, to wrap under its master key or alias `key`.
    ///
    /// # Errors
    ///
    /// As [`FileKeyring::open`].
    pub fn open(path: impl AsRef<Path>, key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open_read_only(path, key, protection)
    }

    /// Opens the bytes of a key file, which are copied, to wrap under the master key or alias
    /// `key`.
    ///
    /// Nothing is looked at again: a rotation elsewhere arrives by
    /// [`replace_bytes`](Self::replace_bytes), and it is the caller's to call that in time, before
    /// a version that is still wrapped under here is disabled.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey); [`Error::Backend`] with the path `key file in memory`.
    pub fn from_bytes(bytes: &[u8], key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().from_bytes(bytes, key, protection)
    }

    pub(super) fn from_bytes_with(
        options: &FileKeyringOptions,
        bytes: &[u8],
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        let directory = Arc::new(BytesDirectory::new(bytes));
        let store = Store::in_directory(directory.clone(), OsStr::new(NAME))?;
        let options = options.clone().read_only();
        let keyring = FileKeyring::open_in(store, options, protection, &software())?;
        Ok(ReadOnlyFileKeyring { keyring: keyring.with_key(key)?, bytes: Some(directory) })
    }

    /// A keyring of a file that was opened read-only.
    pub(super) fn of(keyring: FileKeyring) -> Self {
        ReadOnlyFileKeyring { keyring, bytes: None }
    }

    /// Takes a later state of the key file in, for every handle of it: same file key, and a history
    /// that goes on from the one that is loaded. Returns its change number.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`]: [`KeyFileError::ReadOnly`] for a keyring of a file, which is followed
    /// by itself; as [`FileKeyring::reload`] for the bytes. After an error everything stays as it
    /// was.
    pub fn replace_bytes(&self, bytes: &[u8]) -> Result<u64, Error> {
        let directory = self.directory_for(bytes)?;
        let inner = &self.keyring.inner;
        inner.replace(|| directory.replace(bytes, || inner.accept_successor(bytes).map(drop)))?;
        Ok(inner.keysets().change())
    }

    /// Opens other bytes of a key file in the place of those that there are, for every handle, as
    /// if for the first time: under a file key that was replaced, or of another history. Returns
    /// their change number.
    ///
    /// # Errors
    ///
    /// As [`from_bytes`](Self::from_bytes), and [`KeyFileError::ReadOnly`] for a keyring of a
    /// file, which [`reopen`](Self::reopen) opens again. After an error everything stays as it was.
    pub fn reopen_bytes(&self, bytes: &[u8], protection: &Protection) -> Result<u64, Error> {
        let directory = self.directory_for(bytes)?;
        let inner = &self.keyring.inner;
        let store = Store::in_directory(Arc::new(BytesDirectory::new(bytes)), OsStr::new(NAME))?;
        inner.reopen_from(&store, protection, || directory.put(bytes))?;
        Ok(inner.keysets().change())
    }

    /// Where `bytes` can take the place of those that there are.
    fn directory_for(&self, bytes: &[u8]) -> Result<&BytesDirectory, KeyFileError> {
        let path = || self.path().to_path_buf();
        let directory =
            self.bytes.as_deref().ok_or_else(|| KeyFileError::ReadOnly { path: path() })?;
        let (len, most) = (bytes.len() as u64, MAX_KEY_FILE_LEN);
        if len > most {
            return Err(KeyFileError::TooLarge { path: path(), len, most });
        }
        Ok(directory)
    }

    /// As [`FileKeyring::with_key`].
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn with_key(&self, name: &str) -> Result<Self, Error> {
        Ok(self.with(self.keyring.with_key(name)?))
    }

    /// As [`FileKeyring::only_key`].
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn only_key(&self, name: &str) -> Result<Self, Error> {
        Ok(self.with(self.keyring.only_key(name)?))
    }

    /// As [`FileKeyring::refusing_compromised`].
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        self.with(self.keyring.refusing_compromised())
    }

    fn with(&self, keyring: FileKeyring) -> Self {
        ReadOnlyFileKeyring { keyring, bytes: self.bytes.clone() }
    }

    /// As [`FileKeyring::reload`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reload(&self) -> Result<u64, Error> {
        self.keyring.reload()
    }

    /// As [`FileKeyring::reopen`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reopen(&self, protection: &Protection) -> Result<(), Error> {
        self.keyring.reopen(protection)
    }

    /// As [`FileKeyring::health`].
    pub fn health(&self) -> KeyFileHealth {
        self.keyring.health()
    }

    /// As [`FileKeyring::last_error`].
    pub fn last_error(&self) -> Option<KeyFileError> {
        self.keyring.last_error()
    }

    /// The path of the file, as it was given.
    pub fn path(&self) -> &Path {
        self.keyring.path()
    }

    /// As [`FileKeyring::protections`].
    pub fn protections(&self) -> Vec<ProtectionRecord> {
        self.keyring.protections()
    }

    /// As [`FileKeyring::outer_freshness`].
    pub fn outer_freshness(&self) -> Vec<OuterFreshness> {
        self.keyring.outer_freshness()
    }

    /// The name or alias of the master key that wraps.
    pub fn key(&self) -> &str {
        self.keyring.key()
    }

    /// As [`FileKeyring::change_number`].
    pub fn change_number(&self) -> u64 {
        self.keyring.change_number()
    }

    /// As [`FileKeyring::primary_version`].
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.keyring.primary_version()
    }

    /// As [`FileKeyring::versions`].
    pub fn versions(&self) -> Vec<VersionRecord> {
        self.keyring.versions()
    }

    /// Every master key of the file, as it is now.
    ///
    /// # Errors
    ///
    /// As [`FileKeyring::reload`].
    pub fn keysets(&self) -> Result<KeysetMap, Error> {
        self.keyring.keysets()
    }
}

impl Keyring for ReadOnlyFileKeyring {
    forward_keyring!(self => self.keyring;
        primary, wrap, wrap_under, holds, unwrap, rewrap, freshness);
}

impl fmt::Debug for ReadOnlyFileKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadOnlyFileKeyring").field(&self.keyring).finish()
    }
}
