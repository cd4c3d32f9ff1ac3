//! Making and opening a key file in one call.

use super::keyring::FileKeyring;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use crate::error::Error;
use alloc::vec::Vec;
use std::path::Path;

impl FileKeyring {
    /// Makes a key file with one master key `key`, whose fresh version 1 is the primary.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`](crate::keyset::LifecycleError::KeyName); [`Error::Randomness`]; [`Error::Backend`]:
    /// [`KeyFileError::Exists`](crate::file::KeyFileError::Exists) if anything has that name, and whatever the operating system
    /// refuses.
    pub fn create(
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        FileKeyringOptions::new().create(path, key, protection)
    }

    /// Opens a key file, to wrap under its master key `key`, or whichever an alias `key` stands
    /// for at the time. Unwraps under every master key of the file.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey) if the file has no key nor alias of that name; [`Error::Backend`]:
    /// what the operating system refuses, what is wrong with owner or permissions, which record of
    /// the file is damaged, and which version is on a token. A wrong passphrase cannot be told
    /// from a damaged first line.
    pub fn open(path: impl AsRef<Path>, key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open(path, key, protection)
    }

    /// Opens a key file whatever keys it has, for tools. It wraps under its master key if that is
    /// the only one; of several, [`with_key`](Self::with_key) picks one, and until then nothing
    /// wraps, so that no key that somebody adds takes the place of another.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_any(path: impl AsRef<Path>, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open_any(path, protection)
    }

    /// Opens a key file as [`open`](Self::open) does, or makes it as [`create`](Self::create) does
    /// if there is none. Of many processes that do so at once one makes it, and all open it.
    ///
    /// A directory that is not mounted yet holds no file either: where the keys are needed to read
    /// what is there already, `open` says so and this makes another file.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        FileKeyringOptions::new().open_or_create(path, key, protection)
    }

    /// The protections that a file says it has, read without any secret: to ask for the right one,
    /// and to find the key files that need a version of an outer key. **Unverified**: whoever can
    /// write the file can change it.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the file cannot be read, or its first line is damaged.
    pub fn read_protections(path: impl AsRef<Path>) -> Result<Vec<ProtectionRecord>, Error> {
        FileKeyringOptions::new().read_protections(path)
    }
}
