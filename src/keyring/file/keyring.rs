//! The file keyring: what a program holds.

use super::error::KeyFileError;
use super::format::ProtectionId;
use super::inner::Inner;
use super::options::FileKeyringOptions;
use super::protection::Protection;
use super::protection_record::{AddedProtection, OuterFreshness, ProtectionRecord};
use super::snapshot::{ProtectionChange, Snapshot};
use super::storage::Store;
use crate::OsRandom;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, Slot, SlotLabel};
use crate::keyring::held::KeySource;
use crate::keyring::master_keys::Selection;
use crate::keyring::{
    Freshness, Keyring, KeyringError, Lifecycle, PrimaryKey, Refusal, SlotWriter, WrapContext,
};
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap};
use crate::random::KeyringRng;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::path::Path;

/// Master keys in one file: authenticated, sealed, replaced as a whole, for years and for several
/// processes at once.
///
/// The file is text that can be looked at: names, versions, states, dates and labels are in the
/// clear, key material is sealed under a file key that one or several [`Protection`]s keep; they
/// are added and removed ([`add_protection`](Self::add_protection)) without any master key
/// changing, while other processes go on. Its form is written down in
/// [`spec::key_file`](crate::spec::key_file).
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
/// Any number of processes, and of keyrings in one process, may use a file. Writers take turns
/// under a lock; readers never wait for them and never see half a file. A change that another
/// process made is noticed within [`refresh_after`](FileKeyringOptions::refresh_after), one
/// second by default, and a version that is unknown here is looked for in the file before that
/// is said. Until then a process can still wrap under the former primary; so disable a version
/// some seconds after the rotation, and never destroy one right after disabling it.
///
/// # Containers, links, owners
///
/// The path is followed anew at each look and each change, links included, so that a Kubernetes
/// Secret whose `..data` link is turned is seen like any change; a writer writes beside the file
/// that the path leads to at the time. Mount the directory of a key file: one that is mounted alone
/// hides its changes and is refused ([`KeyFileError::MountedAlone`]). Files of a group or of
/// another owner are for [`FileRules`](crate::file::FileRules), keys that are no file for
/// [`ReadOnlyFileKeyring`](crate::file::ReadOnlyFileKeyring).
///
/// # When the file cannot be read any more
///
/// If the file is gone, damaged, older than before or from another history, what was loaded
/// keeps unwrapping, and nothing is wrapped: a message under a key that exists only in this
/// process's memory would be lost with it. The error says what is wrong, and once the file is in
/// order again, or is [reopened](Self::reopen) as it is, wraps go on.
///
/// # Usage
///
/// Wraps and bytes are counted for each version, in memory: a wrap under a key of the file needs to
/// read the file and never to write it. The counts are written along with each change, by
/// [`flush`](Self::flush) and [`close`](Self::close), and when the last handle is dropped, if the file
/// can be written then and nobody else has the lock. What a process that is killed had not
/// written is not counted, so what is on record is used *at least*: a process that ends by a
/// signal calls [`flush`](Self::flush) from time to time. [`versions`](Self::versions) and
/// [`keysets`](Lifecycle::keysets) tell what is on record and what this process counted besides.
/// A child process that was forked begins its own counts, and does not count its parent's again.
///
/// Where an algorithm has a limit (AES-GCM on a token), and with
/// [`reserve_usage`](FileKeyringOptions::reserve_usage), wraps are reserved in the file before they
/// are made, in blocks, and what is on record is used *or reserved*: never too low.
///
/// Not counted are wraps of a keyring that was opened
/// [`read_only`](FileKeyringOptions::read_only) or
/// [`without_usage`](FileKeyringOptions::without_usage), or of a file that this version of the
/// library may not write.
///
/// # Versions on a token
///
/// A key file can be the catalogue of master keys on a token: it then has names, versions, states,
/// dates and usage of them, authenticated as everything in it, and none of their material. Such
/// a file is opened by the keyring of the token alone; this one answers
/// [`KeyFileFault::TokenVersion`](crate::file::KeyFileFault::TokenVersion).
pub struct FileKeyring {
    pub(super) inner: Arc<Inner>,
    pub(super) selection: Selection,
}

impl FileKeyring {
    pub(crate) fn create_in(
        store: Store,
        options: FileKeyringOptions,
        key: &str,
        protection: &Protection,
        source: Arc<dyn KeySource>,
    ) -> Result<Self, Error> {
        let selection = Selection::of(key);
        let inner = Arc::new(Inner::create(store, options, key, protection, source)?);
        Ok(FileKeyring { inner, selection })
    }

    pub(crate) fn open_in(
        store: Store,
        options: FileKeyringOptions,
        protection: &Protection,
        source: &Arc<dyn KeySource>,
    ) -> Result<Self, Error> {
        Ok(FileKeyring::of(Inner::open(store, options, protection, source)?))
    }

    /// A keyring that wraps under the only master key, or under none.
    pub(super) fn of(inner: Inner) -> Self {
        let keysets = inner.keysets();
        let only = if keysets.iter().len() == 1 { keysets.iter().next() } else { None };
        let only = only.map(|keyset| keyset.name().as_str());
        let selection = Selection::of(only.unwrap_or_default());
        FileKeyring { inner: Arc::new(inner), selection }
    }

    /// The same file, wrapping under the master key `name`, or whichever an alias `name` stands
    /// for at the time.
    ///
    /// Unwraps under every master key of the file: once an alias stands for another key, messages
    /// under the former one keep opening.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn with_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), ..self.selection.clone() })
    }

    /// The same file, wrapping and unwrapping under the master key `name` alone: messages of any
    /// other are another keyring's. For tenants that must not open each other's messages. Those of
    /// an alias have its [former keys](KeysetMap::former_keys) too, each under its own primary.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    pub fn only_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), only: true, ..self.selection.clone() })
    }

    /// The same file, and versions that are marked compromised are refused.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        let selection = Selection { strict: true, ..self.selection.clone() };
        FileKeyring { inner: self.inner.clone(), selection }
    }

    fn select(&self, selection: Selection) -> Result<Self, Error> {
        if self.inner.keysets().resolve(&selection.key).is_err() {
            self.inner.reload()?;
            self.inner.keysets().resolve(&selection.key)?;
        }
        Ok(FileKeyring { inner: self.inner.clone(), selection })
    }

    /// Looks whether the file was changed, and loads it if so.
    ///
    /// Returns the change number that is loaded now. Not needed in general: see
    /// [`FileKeyringOptions::refresh_after`].
    ///
    /// # Errors
    ///
    /// [`Error::Backend`]; what was loaded before stays in use for unwrapping.
    pub fn reload(&self) -> Result<u64, Error> {
        self.inner.reload()?;
        Ok(self.inner.keysets().change())
    }

    /// Why the file could not be loaded when it was last looked at, if it could not.
    pub fn last_error(&self) -> Option<KeyFileError> {
        self.inner.last_error()
    }

    /// The path of the file, as it was given.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    /// How the file is protected, as it was last loaded: by which outer keys, too.
    pub fn protections(&self) -> Vec<ProtectionRecord> {
        self.inner.snapshot().protections().to_vec()
    }

    /// How each outer key stands that keeps the file key: of every [`Protection::keyring`] of the
    /// file, going by what the keyrings know that were offered to open the file or to protect it.
    ///
    /// A process that has the file open needs none of them, and goes on until it restarts. So ask
    /// while it runs, or have an observer told
    /// ([`Event::OuterKey`](crate::observe::Event::OuterKey)): as long as a process has the file open,
    /// [`rewrap_protection`](Self::rewrap_protection) and
    /// [`add_protection`](Self::add_protection) mend it, even after the outer version is gone.
    pub fn outer_freshness(&self) -> Vec<OuterFreshness> {
        self.inner.outer_freshness()
    }

    /// Lets `protection` open the file as well, from now on. Master keys and messages stay as they
    /// are, and other processes that have the file open follow.
    ///
    /// A file has at most 8 protections, 4 of them passphrases.
    ///
    /// # Errors
    ///
    /// As [`Lifecycle::change`];
    /// [`KeyFileFault::Protections`](crate::file::KeyFileFault::Protections).
    pub fn add_protection(&self, protection: &Protection) -> Result<AddedProtection, Error> {
        self.inner.change_protection(&ProtectionChange::Add(protection), &mut OsRandom)
    }

    /// Puts `protection` in the place of the one of `id`, which keeps id and name: the same outer
    /// keyring after its rotation, or another passphrase. Returns the number of the change.
    ///
    /// As [`remove_protection`](Self::remove_protection), it revokes nothing.
    ///
    /// # Errors
    ///
    /// As [`add_protection`](Self::add_protection).
    pub fn rewrap_protection(
        &self,
        id: ProtectionId,
        protection: &Protection,
    ) -> Result<u64, Error> {
        let change = ProtectionChange::Rewrap(id, protection);
        Ok(self.inner.change_protection(&change, &mut OsRandom)?.change)
    }

    /// Removes the protection of `id`, unless it is the only one. Returns the number of the change.
    ///
    /// # Security
    ///
    /// **This revokes nothing.** Who could open the file may have kept the file key, or a copy of
    /// the file from before, and opens later states of the file with it. After an incident,
    /// [`replace_file_key`](Self::replace_file_key), and rotate the master keys.
    ///
    /// # Errors
    ///
    /// As [`add_protection`](Self::add_protection).
    pub fn remove_protection(&self, id: ProtectionId) -> Result<u64, Error> {
        let change = ProtectionChange::Remove(id);
        Ok(self.inner.change_protection(&change, &mut OsRandom)?.change)
    }

    /// Draws a fresh file key, which `protections` keep and nothing else does, and seals every
    /// master key under it anew. Returns the number of the change.
    ///
    /// Other processes that have the file open cannot follow: they keep unwrapping, stop wrapping,
    /// and have to open it anew
    /// ([`KeyFileFault::FileKeyReplaced`](crate::file::KeyFileFault::FileKeyReplaced)).
    ///
    /// # Security
    ///
    /// Who had the former file key cannot read what is written to the file from now on. A copy of
    /// the file from before still opens as it did then, and has every master key of that time: if
    /// others may have one, rotate the master keys, too.
    ///
    /// # Errors
    ///
    /// As [`add_protection`](Self::add_protection).
    pub fn replace_file_key(&self, protections: &[&Protection]) -> Result<u64, Error> {
        self.inner.replace_file_key(protections, &mut OsRandom)
    }

    /// Writes what this process counted and did not write yet, if that is anything.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the file cannot be written; the counts are kept then.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.inner.flush(self.inner.options.lock_wait, false)?)
    }

    /// Writes what this process counted, and gives back what it reserved, if this is the last handle
    /// of the file: as a drop does, which can neither wait for another writer nor fail. Else as
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); the counts are lost then if this was the last handle.
    pub fn close(self) -> Result<(), Error> {
        let is_last = Arc::strong_count(&self.inner) == 1;
        Ok(self.inner.flush(self.inner.options.lock_wait, is_last)?)
    }
}

impl Keyring for FileKeyring {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.inner.refresh_if_due();
        // Not under the lock: the visitor is the caller's.
        let state = self.inner.snapshot().clone();
        state.keys.visit_primary(&self.selection, visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wrap_for(None, data_key, context, slots, rng)
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wrap_for(Some(name), data_key, context, slots, rng)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        let is_held = |state: &Snapshot| Ok(state.keys.keysets.find(name.as_str()).is_some());
        self.with_snapshot(is_held, |_| self.is_unknown_name(name))?;
        // Not under the lock: the visitor is the caller's.
        let state = self.inner.snapshot().clone();
        state.keys.holds(&self.selection, name, visit);
        Ok(())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let unwrap = |state: &Snapshot| state.keys.unwrap(&self.selection, slot, context, data_key);
        self.with_snapshot(unwrap, |answer| self.is_unknown(answer, &slot.label))
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let freshness = |state: &Snapshot| state.keys.freshness(&self.selection, slot);
        self.with_snapshot(freshness, |answer| match answer {
            Ok(Freshness::NotMine) => self.is_unknown_name(slot.name),
            Ok(freshness) => *freshness == Freshness::Refused(Refusal::UnknownVersion),
            Err(_) => false,
        })
    }
}

impl Lifecycle for FileKeyring {
    fn key(&self) -> &str {
        &self.selection.key
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.inner.reload()?;
        Ok(self.inner.keysets_with_usage())
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        terms: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        self.inner.change(changes, terms, rng)
    }
}

impl fmt::Debug for FileKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeyring")
            .field("path", &self.path())
            .field("key", &self.selection.key)
            .field("change", &self.inner.keysets().change())
            .finish_non_exhaustive()
    }
}
