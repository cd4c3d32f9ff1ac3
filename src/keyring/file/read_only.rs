//! Key files that are used and never changed.

use super::error::KeyFileError;
use super::health::KeyFileHealth;
use super::keyring::FileKeyring;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::protection_record::{OuterFreshness, ProtectionRecord};
use super::storage::{MAX_KEY_FILE_LEN, MemoryFile, Store};
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::{Keyring, Lifecycle, forward_keyring};
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::keyset::{KeysetMap, VersionRecord};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::path::Path;

/// A [`FileKeyring`] without a lifecycle: it wraps and unwraps, and cannot rotate or destroy
/// a version.
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
    /// The bytes of a keyring that reads no file.
    bytes: Option<Arc<MemoryFile>>,
}

impl ReadOnlyFileKeyring {
    /// Opens a key file, to wrap under its master key or alias `key`.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`].
    pub fn open(path: impl AsRef<Path>, key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open_read_only(path, key, protection)
    }

    /// Opens the bytes of a key file, which are copied, to wrap under the master key or alias
    /// `key`.
    ///
    /// Nothing is polled: the caller passes on each rotation by
    /// [`replace_bytes`](Self::replace_bytes), before a version that this process still wraps under
    /// is disabled.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open`]; the path of a [`KeyFileError`] is `key file in memory`.
    pub fn from_bytes(bytes: &[u8], key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().from_bytes(bytes, key, protection)
    }

    /// A keyring that was opened read-only, of `bytes` or of a file.
    pub(super) fn of(keyring: FileKeyring, bytes: Option<Arc<MemoryFile>>) -> Self {
        ReadOnlyFileKeyring { keyring, bytes }
    }

    /// Loads a later state of the key file, for every handle: under the same file key, with a history
    /// that continues the loaded one. Returns its change number.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: `ReadOnly` for a keyring of a file, which polls the file itself;
    /// `Content`, `RolledBack` or `Diverged` for the bytes. After an error nothing has changed.
    pub fn replace_bytes(&self, bytes: &[u8]) -> Result<u64, Error> {
        let file = self.file_for(bytes)?;
        let open_file = &self.keyring.open_file;
        open_file.replace(file, bytes)?;
        Ok(open_file.keysets().change())
    }

    /// Opens other bytes of a key file, for every handle, as if for the first time: under a replaced
    /// file key, or of another history. Returns their change number.
    ///
    /// # Errors
    ///
    /// Those of [`from_bytes`](Self::from_bytes); [`KeyFileError::ReadOnly`] for a keyring of a file,
    /// which [`reopen`](Self::reopen) opens again. After an error nothing has changed.
    pub fn reopen_bytes(&self, bytes: &[u8], protection: &Protection) -> Result<u64, Error> {
        self.file_for(bytes)?;
        let open_file = &self.keyring.open_file;
        open_file.reopen(&Store::in_memory(Arc::new(MemoryFile::new(bytes))), protection)?;
        Ok(open_file.keysets().change())
    }

    /// The file whose content `bytes` can replace.
    fn file_for(&self, bytes: &[u8]) -> Result<&MemoryFile, KeyFileError> {
        let path = || self.path().to_path_buf();
        let file = self.bytes.as_deref().ok_or_else(|| KeyFileError::ReadOnly { path: path() })?;
        let (len, most) = (bytes.len() as u64, MAX_KEY_FILE_LEN);
        if len > most {
            return Err(KeyFileError::TooLarge { path: path(), len, most });
        }
        Ok(file)
    }

    /// Returns a keyring of the same file that wraps under the master key or alias `name`.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn with_key(&self, name: &str) -> Result<Self, Error> {
        Ok(self.with(self.keyring.with_key(name)?))
    }

    /// Returns a keyring that wraps and unwraps under the master key or alias `name` alone.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn only_key(&self, name: &str) -> Result<Self, Error> {
        Ok(self.with(self.keyring.only_key(name)?))
    }

    /// Returns a keyring of the same file that refuses compromised versions.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        self.with(self.keyring.refusing_compromised())
    }

    fn with(&self, keyring: FileKeyring) -> Self {
        ReadOnlyFileKeyring { keyring, bytes: self.bytes.clone() }
    }

    /// Loads the file if it changed, and returns its change number. A keyring of bytes stays as it is.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; the keys that are loaded stay in use for unwrapping.
    pub fn reload(&self) -> Result<u64, Error> {
        self.keyring.reload()
    }

    /// Opens the file again under `protection`, for every handle: after a replaced file key, or a
    /// restored backup.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::open_any`].
    pub fn reopen(&self, protection: &Protection) -> Result<(), Error> {
        self.keyring.reopen(protection)
    }

    /// Returns the health of the file, for a readiness probe, without a poll.
    pub fn health(&self) -> KeyFileHealth {
        self.keyring.health()
    }

    /// Returns why the last poll could not load the file, if it could not.
    pub fn last_error(&self) -> Option<KeyFileError> {
        self.keyring.last_error()
    }

    /// Returns the path of the file, as given.
    pub fn path(&self) -> &Path {
        self.keyring.path()
    }

    /// Returns the protections of the file as last loaded, with their outer keys.
    pub fn protections(&self) -> Vec<ProtectionRecord> {
        self.keyring.protections()
    }

    /// Returns the freshness of each outer key of the file ([`FileKeyring::outer_freshness`]).
    pub fn outer_freshness(&self) -> Vec<OuterFreshness> {
        self.keyring.outer_freshness()
    }

    /// Returns the name or alias of the master key that wraps.
    pub fn key(&self) -> &str {
        self.keyring.key()
    }

    /// Returns the change number of the file, polled now; the loaded one if the file cannot be read.
    pub fn change_number(&self) -> u64 {
        self.keyring.change_number()
    }

    /// Returns the primary version of the master key that wraps, if there is one. Polls the file.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.keyring.primary_version()
    }

    /// Returns every version of the master key that wraps, lowest number first. Polls the file.
    pub fn versions(&self) -> Vec<VersionRecord> {
        self.keyring.versions()
    }

    /// Every master key of the file, polled now.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] if the file cannot be loaded.
    pub fn keysets(&self) -> Result<KeysetMap, Error> {
        self.keyring.keysets()
    }
}

impl Keyring for ReadOnlyFileKeyring {
    forward_keyring!(self => self.keyring;
        visit_primaries, wrap, wrap_under, holds, unwrap, rewrap, freshness);
}

impl fmt::Debug for ReadOnlyFileKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadOnlyFileKeyring").field(&self.keyring).finish()
    }
}
