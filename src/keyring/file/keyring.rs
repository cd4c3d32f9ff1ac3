//! The file keyring.

use super::error::KeyFileError;
use super::format::ProtectionId;
use super::open_key_file::OpenKeyFile;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::protection_record::{AddedProtection, OuterFreshness, ProtectionRecord};
use super::snapshot::ProtectionChange;
use super::storage::Store;
use crate::OsRandom;
use crate::error::Error;
#[cfg(doc)]
use crate::keyring::Lifecycle;
use crate::keyring::key_table::Selection;
use crate::keyring::wrapping_key::KeyMaterialStore;
#[cfg(doc)]
use crate::keyset::{KeysetMap, LifecycleError};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::path::Path;

/// Master keys in one file that several processes share: authenticated, sealed, replaced as a whole.
///
/// The file is readable text: names, versions, states, dates and labels are in the clear. Key
/// material is sealed under a file key, which one or several [`Protection`]s wrap. Protections are
/// added and removed ([`add_protection`](Self::add_protection)) without a change of any master key,
/// while other processes go on. [`spec::key_file`](crate::spec::key_file) specifies the format.
///
/// ```
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, FileKeyring, Lifecycle, file::Protection};
///
/// # let directory = std::env::temp_dir().join(format!("envelock-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("orders.keys");
/// let passphrase = Protection::passphrase("correct horse battery staple");
/// let keyring = FileKeyring::create(&path, "orders", &passphrase)?;
/// let message = Envelope::new(&keyring).encrypt(b"hello", Aad::none())?;
///
/// // Another process, another day.
/// let keyring = FileKeyring::open(&path, "orders", &passphrase)?;
/// keyring.rotate()?;
/// assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none())?, b"hello");
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok(())
/// # }
/// ```
///
/// # Several processes
///
/// Any number of processes, and of keyrings in one process, can use a file. Writers take turns
/// under a lock; readers never wait for them and never see half a file. A process notices the change
/// of another one within [`refresh_after`](FileKeyringOptions::refresh_after), one second by
/// default, and reads the file before it reports a version as unknown. Until then it can still wrap
/// under the former primary: disable a version some seconds after the rotation, and never destroy
/// one right after disabling it.
///
/// # Containers, links, owners
///
/// Each poll and each change resolves the path again, links included, so that an updated
/// Kubernetes Secret is seen like any change; a writer writes beside the file that the path leads
/// to. Mount the directory of a key file: a mount of the file alone hides its changes and is
/// refused ([`KeyFileError::MountedAlone`]). [`FileRules`](crate::file::FileRules) accepts files of
/// a group or of another owner, and [`ReadOnlyFileKeyring`](crate::file::ReadOnlyFileKeyring) bytes
/// that are not in a file.
///
/// # When the file can no longer be read
///
/// If the file is missing, damaged, older than before or of another history, the loaded keys keep
/// unwrapping, and wraps fail: a message under a key that exists only in the memory of this process
/// would be lost with it. Wraps succeed again once the file is in order, or is
/// [reopened](Self::reopen) as it is.
///
/// # Usage
///
/// Wraps and bytes of each version are counted in memory: a wrap reads the file and does not write
/// it. The counts are written with each change, by [`flush`](Self::flush) and
/// [`close`](Self::close), and when the last handle is dropped, if the file is writable then and no
/// other process has the lock. A process that is killed loses its unwritten counts, so recorded
/// usage is a lower bound: a process that ends by a signal calls [`flush`](Self::flush) from time
/// to time. [`versions`](Self::versions) and [`keysets`](Lifecycle::keysets) return the recorded
/// usage and the counts of this process. A forked child begins its own counts.
///
/// If an algorithm has a limit (AES-GCM on a token), and with
/// [`reserve_usage`](FileKeyringOptions::reserve_usage), wraps are reserved in the file, in blocks,
/// before they are made. Recorded usage is then used *or reserved*: an upper bound.
///
/// Wraps are not counted by a keyring that is [`read_only`](FileKeyringOptions::read_only) or
/// [`without_usage`](FileKeyringOptions::without_usage), nor for a file that this version of the
/// library cannot write.
///
/// # Versions on a token
///
/// A key file can be the catalogue of master keys on a token: it then holds their names, versions,
/// states, dates and usage, and not their material. Only the keyring of the token opens such a
/// file; this one fails with
/// [`KeyFileFault::TokenVersion`](crate::file::KeyFileFault::TokenVersion).
pub struct FileKeyring {
    pub(super) open_file: Arc<OpenKeyFile>,
    pub(super) selection: Selection,
}

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

    /// Returns the protections of a file, read without a secret: to prompt for the right one, and to find
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

    pub(crate) fn create_in(
        store: Store,
        options: FileKeyringOptions,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, Error> {
        let selection = Selection::of(key);
        let open_file = Arc::new(OpenKeyFile::create(store, options, key, protection, source)?);
        Ok(FileKeyring { open_file, selection })
    }

    pub(crate) fn open_in(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<Self, Error> {
        Ok(FileKeyring::of(OpenKeyFile::open(store, options, protection, source)?))
    }

    /// A keyring that wraps under the only master key, or under no key if there are several.
    pub(super) fn of(open_file: OpenKeyFile) -> Self {
        let keysets = open_file.keysets();
        let only = keysets.iter().next().filter(|_| keysets.iter().len() == 1);
        let selection = Selection::of(only.map_or("", |keyset| keyset.name().as_str()));
        FileKeyring { open_file: Arc::new(open_file), selection }
    }

    /// Returns the same file, wrapping under the master key or alias `name`. An alias is resolved at each
    /// wrap.
    ///
    /// Unwraps under every master key of the file: messages under the former key of an alias keep
    /// opening.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn with_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), ..self.selection.clone() })
    }

    /// Returns the same file, wrapping and unwrapping under the master key `name` alone, for tenants that
    /// must not open each other's messages. Messages under any other key belong to another keyring.
    /// An alias includes its [former keys](KeysetMap::former_keys).
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn only_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), only: true, ..self.selection.clone() })
    }

    /// Returns the same file, refusing versions that are marked compromised.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        let selection = Selection { strict: true, ..self.selection.clone() };
        FileKeyring { open_file: self.open_file.clone(), selection }
    }

    fn select(&self, selection: Selection) -> Result<Self, Error> {
        if self.open_file.keysets().resolve(&selection.key).is_err() {
            self.open_file.reload()?;
            self.open_file.keysets().resolve(&selection.key)?;
        }
        Ok(FileKeyring { open_file: self.open_file.clone(), selection })
    }

    /// Loads the file if it changed, and returns its change number. Rarely needed: see
    /// [`FileKeyringOptions::refresh_after`].
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; the keys that are loaded stay in use for unwrapping.
    pub fn reload(&self) -> Result<u64, Error> {
        self.open_file.reload()?;
        Ok(self.open_file.keysets().change())
    }

    /// Why the last poll could not load the file, if it could not.
    pub fn last_error(&self) -> Option<KeyFileError> {
        self.open_file.last_error()
    }

    /// Returns the path of the file, as given.
    pub fn path(&self) -> &Path {
        self.open_file.path()
    }

    /// Returns the protections of the file as last loaded, with their outer keys.
    pub fn protections(&self) -> Vec<ProtectionRecord> {
        self.open_file.snapshot().protections().to_vec()
    }

    /// Returns the freshness of each outer key of a [`Protection::keyring`] of the file, as reported by the
    /// keyrings that opened or protected it.
    ///
    /// A process that has the file open needs no outer key until it restarts. Ask while it runs, or
    /// set an observer ([`Event::OuterKey`](crate::observe::Event::OuterKey)): until then
    /// [`rewrap_protection`](Self::rewrap_protection) and [`add_protection`](Self::add_protection)
    /// repair the file, even after the outer version was destroyed.
    pub fn outer_freshness(&self) -> Vec<OuterFreshness> {
        self.open_file.outer_freshness()
    }

    /// Adds `protection`, which then opens the file as well. Master keys and messages do not change,
    /// and other processes that have the file open follow.
    ///
    /// A file has at most 8 protections, 4 of them passphrases.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: the file cannot be locked or written;
    /// [`KeyFileFault::Protections`](crate::file::KeyFileFault::Protections); the error of the outer
    /// keyring.
    pub fn add_protection(&self, protection: &Protection) -> Result<AddedProtection, Error> {
        self.open_file.change_protection(&ProtectionChange::Add(protection), &mut OsRandom)
    }

    /// Replaces the protection `id` by `protection`, under the same id and name: the same outer
    /// keyring after its rotation, or another passphrase. Returns the change number.
    ///
    /// This revokes nothing: see [`remove_protection`](Self::remove_protection).
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: the file cannot be locked or written;
    /// [`KeyFileFault::Protections`](crate::file::KeyFileFault::Protections) if it has no protection `id`, or
    /// too many passphrases; the error of the outer keyring.
    pub fn rewrap_protection(
        &self,
        id: ProtectionId,
        protection: &Protection,
    ) -> Result<u64, Error> {
        let change = ProtectionChange::Rewrap(id, protection);
        Ok(self.open_file.change_protection(&change, &mut OsRandom)?.change)
    }

    /// Removes the protection `id`, unless it is the only one. Returns the change number.
    ///
    /// # Security
    ///
    /// **This revokes nothing.** A former user of the protection may have kept the file key, which
    /// opens later states of the file, too. After an incident call
    /// [`replace_file_key`](Self::replace_file_key), and rotate the master keys.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: the file cannot be locked or written;
    /// [`KeyFileFault::Protections`](crate::file::KeyFileFault::Protections) if it has no protection `id`, or no
    /// other.
    pub fn remove_protection(&self, id: ProtectionId) -> Result<u64, Error> {
        let change = ProtectionChange::Remove(id);
        Ok(self.open_file.change_protection(&change, &mut OsRandom)?.change)
    }

    /// Draws a fresh file key, wraps it under `protections` alone, and seals every master key under
    /// it. Returns the change number.
    ///
    /// Other processes that have the file open keep unwrapping, stop wrapping, and have to reopen it
    /// ([`KeyFileFault::FileKeyReplaced`](crate::file::KeyFileFault::FileKeyReplaced)).
    ///
    /// # Security
    ///
    /// The former file key does not open later states of the file. Earlier copies of the file still
    /// open, and hold every master key of their time: if others may have a copy, rotate the master
    /// keys, too.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: the file cannot be locked or written;
    /// [`KeyFileFault::Protections`](crate::file::KeyFileFault::Protections) if `protections` has none or too
    /// many; the error of an outer keyring.
    pub fn replace_file_key(&self, protections: &[&Protection]) -> Result<u64, Error> {
        self.open_file.replace_file_key(protections, &mut OsRandom)
    }

    /// Writes the unwritten usage counts of this process, if there are any.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] if the file cannot be written; the counts are kept.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.open_file.flush(self.open_file.options.lock_wait, false)?)
    }

    /// Like [`flush`](Self::flush); the last handle of the file also returns unused reservations. A
    /// drop does the same, and can neither wait for another writer nor report an error.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] if the file cannot be written; the counts of the last handle are lost.
    pub fn close(self) -> Result<(), Error> {
        let is_last = Arc::strong_count(&self.open_file) == 1;
        Ok(self.open_file.flush(self.open_file.options.lock_wait, is_last)?)
    }
}

impl fmt::Debug for FileKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeyring")
            .field("path", &self.path())
            .field("key", &self.selection.key)
            .field("change", &self.open_file.keysets().change())
            .finish_non_exhaustive()
    }
}
