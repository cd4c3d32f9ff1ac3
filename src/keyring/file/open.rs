//! Creating and opening a key file with default options.

use super::keyring::FileKeyring;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::protection_record::ProtectionRecord;
use crate::error::Error;
#[cfg(doc)]
use crate::keyset::LifecycleError;
use alloc::vec::Vec;
use std::path::Path;

impl FileKeyring {
    /// Creates a key file with one master key `key`, whose fresh version 1 is the primary.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`]; [`FileError::Exists`](crate::file::FileError::Exists); the other
    /// [`KeyFileError`](crate::file::KeyFileError)s of a file that cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        FileKeyringOptions::new().create(path, key, protection)
    }

    /// Opens a key file, to wrap under its master key or alias `key`. Unwraps under every master key
    /// of the file.
    ///
    /// # Errors
    ///
    /// The file has no key or alias of that name; [`KeyFileError`](crate::file::KeyFileError): owner
    /// or permissions, a damaged line, a version on a token, or
    /// [`KeyFileFault::Authentication`](crate::file::KeyFileFault::Authentication), which a wrong
    /// passphrase and a damaged first line have in common.
    pub fn open(path: impl AsRef<Path>, key: &str, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open(path, key, protection)
    }

    /// Opens a key file whatever keys it has, for tools. Wraps under its only master key. Of several
    /// keys [`with_key`](Self::with_key) selects one; until then wraps fail.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_any(path: impl AsRef<Path>, protection: &Protection) -> Result<Self, Error> {
        FileKeyringOptions::new().open_any(path, protection)
    }

    /// [Opens](Self::open) a key file, or [creates](Self::create) it if it does not exist. Of many
    /// processes that do so at once one creates it, and all open it.
    ///
    /// A directory that is not mounted yet holds no file either: if existing messages need the keys,
    /// call `open`, which fails then.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(
        path: impl AsRef<Path>,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, Error> {
        FileKeyringOptions::new().open_or_create(path, key, protection)
    }

    /// The protections of a file, read without a secret: to prompt for the right one, and to find
    /// the key files that need a version of an outer key. **Unverified**: anyone who can write the
    /// file can change them.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`](crate::file::KeyFileError) if the file cannot be read, or its first line is
    /// damaged.
    pub fn read_protections(path: impl AsRef<Path>) -> Result<Vec<ProtectionRecord>, Error> {
        FileKeyringOptions::new().read_protections(path)
    }
}
