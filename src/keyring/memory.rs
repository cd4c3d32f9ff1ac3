//! Master keys in this process's memory.

use super::key_table::{MasterKeys, Selection};
use super::lifecycle::Lifecycle;
use super::software::SoftwareSource;
use super::{
    Freshness, Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext, forward_keyring,
};
use crate::crypto::secret::{DataKey, MasterKey};
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, Slot, SlotLabel};
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, KeysetMap, Material, VersionRecord};
use crate::random::{KeyringRng, LockedRng, NoRandomness, RandomPool};
use crate::sync::RwLock;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rand_core::TryCryptoRng;

/// A keyring in memory: named master keys with versions, wrapping by XAES-256-GCM.
///
/// For tests, for keys that the application loads itself (from an environment variable, a secret store),
/// and as the model of every other keyring. The keys end with the process. Messages under keys
/// that were not imported are lost then.
///
/// Threads share it by reference. A rotation waits for wraps in progress, and the next wrap uses
/// the new version. [`Lifecycle`] has the operations on versions.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring};
///
/// let keyring = MemoryKeyring::create("orders")?;
/// let envelope = Envelope::new(&keyring);
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// keyring.rotate()?;
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
pub struct MemoryKeyring {
    keys: Arc<RwLock<Arc<MasterKeys>>>,
    selection: Selection,
}

impl MemoryKeyring {
    /// Returns a keyring with a fresh version 1 as its primary.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes; [`Error::Randomness`].
    #[cfg(feature = "std")]
    pub fn create(name: &str) -> Result<Self, Error> {
        MemoryKeyring::create_with_rng(name, Timestamp::now(), &mut crate::OsRandom)
    }

    /// [`create`](Self::create) with the caller's time and generator.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes; [`Error::Randomness`].
    pub fn create_with_rng<R>(name: &str, now: Timestamp, rng: &mut R) -> Result<Self, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        MemoryKeyring::with_first(Change::CreateKey { key: name, version, material }, now, rng)
    }

    /// Returns a keyring of imported key material. `version`, its only one, is the primary.
    ///
    /// [`Lifecycle::import_version`] adds more versions.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes; [`LifecycleError::KeyMaterial`]
    /// if the key is all zero.
    #[cfg(feature = "std")]
    pub fn import(name: &str, version: KeyVersion, key: &MasterKey) -> Result<Self, Error> {
        MemoryKeyring::import_at(name, version, key, Timestamp::now())
    }

    /// [`import`](Self::import) with the date from which the age of the key counts.
    ///
    /// For keys that are imported at each start, which a policy would otherwise take for new. The dates
    /// of further versions are those of the [`ChangeOptions`] of their import and promotion.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyName`] if the name is invalid or longer than 64 bytes; [`LifecycleError::KeyMaterial`]
    /// if the key is all zero.
    pub fn import_at(
        name: &str,
        version: KeyVersion,
        key: &MasterKey,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let material = Material::Imported(key);
        let change = Change::CreateKey { key: name, version, material };
        MemoryKeyring::with_first(change, now, &mut NoRandomness)
    }

    fn with_first<R>(change: Change<'_>, now: Timestamp, rng: &mut R) -> Result<Self, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let Change::CreateKey { key: name, .. } = change else { return Err(Error::NoPrimary) };
        let keys = Arc::new(RwLock::new(Arc::new(MasterKeys::new(Arc::new(SoftwareSource)))));
        let keyring = MemoryKeyring { keys, selection: Selection::of(name) };
        keyring.change_with_rng(&[change], &ChangeOptions::at(now), rng)?;
        Ok(keyring)
    }

    /// Returns a keyring of the same keys that wraps under the master key `name`, or under the key that
    /// the alias `name` stands for at the time.
    ///
    /// It unwraps under every master key. Messages under a former key of an alias keep opening.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`] if there is no key or alias `name`.
    pub fn with_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), ..self.selection.clone() })
    }

    /// Returns a keyring of the same keys that wraps and unwraps under the master key `name` alone.
    /// Slots of other keys belong to another keyring. For tenants that must not open each other's messages.
    ///
    /// If `name` is an alias, the keyring also opens messages of the keys that the alias stood for
    /// since it was set ([`KeysetMap::former_keys`]). They are current under the primary of their own
    /// key, because a rewrap changes no name.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`] if there is no key or alias `name`.
    pub fn only_key(&self, name: &str) -> Result<Self, Error> {
        self.select(Selection { key: name.into(), only: true, ..self.selection.clone() })
    }

    /// Returns a keyring of the same keys that refuses versions marked as compromised.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        let selection = Selection { strict: true, ..self.selection.clone() };
        MemoryKeyring { keys: self.keys.clone(), selection }
    }

    /// Wraps under the master key `name`, or under the selected one. The lock is released after the slot
    /// is written, so that no version is destroyed during a wrap.
    fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let keys = self.keys.read();
        let (label, key) = keys.primary(&self.selection, name)?;
        key.wrap(data_key, &label, context, slots, rng)?;
        key.count(context, u64::MAX);
        Ok(())
    }

    fn select(&self, selection: Selection) -> Result<Self, Error> {
        self.keys.read().keysets.resolve(&selection.key)?;
        Ok(MemoryKeyring { keys: self.keys.clone(), selection })
    }

    /// [`Lifecycle::change`] with the caller's generator.
    ///
    /// # Errors
    ///
    /// [`Error::Lifecycle`] from [`KeysetMap::with_changes`]; [`Error::Randomness`].
    pub fn change_with_rng<R>(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut R,
    ) -> Result<ChangeOutcome, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        self.change(changes, options, &mut RandomPool::for_rewrap(&LockedRng::new(rng)))
    }

    /// [`Lifecycle::rotate`] with the caller's time and generator.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if the key was erased; [`Error::Randomness`].
    pub fn rotate_with_rng<R>(&self, now: Timestamp, rng: &mut R) -> Result<KeyVersion, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let change = Change::Rotate { key: &self.selection.key };
        let changed = self.change_with_rng(&[change], &ChangeOptions::at(now), rng)?;
        changed.added().ok_or(Error::NoPrimary)
    }

    /// Returns the primary version of this keyring's master key, if there is one.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.keys.read().keysets.resolve(&self.selection.key).ok()?.primary()
    }

    /// Returns the record of every version of this keyring's master key, lowest first.
    pub fn versions(&self) -> Vec<VersionRecord> {
        let keysets = self.keys.read().keysets_with_usage();
        let keyset = keysets.resolve(&self.selection.key);
        keyset.map_or_else(|_| Vec::new(), |keyset| keyset.versions().to_vec())
    }
}

impl Keyring for MemoryKeyring {
    forward_keyring!(self => self; wrap_for);

    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        // Not under the lock: the visitor is the caller's.
        let keys = self.keys.read().clone();
        keys.visit_primary(&self.selection, visit)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        // Not under the lock: the visitor is the caller's.
        let keys = self.keys.read().clone();
        keys.holds(&self.selection, name, visit);
        Ok(())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.keys.read().unwrap(&self.selection, slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keys.read().freshness(&self.selection, slot)
    }
}

impl Lifecycle for MemoryKeyring {
    fn key(&self) -> &str {
        &self.selection.key
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        Ok(self.keys.read().keysets_with_usage())
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        loop {
            let before = self.keys.read().clone();
            // Not under the lock: the generator may block.
            let (mut after, changed, new) = before.with_changes(changes, options, rng)?;
            let mut keys = self.keys.write();
            if keys.keysets.change() == before.keysets.change() {
                after.keep_usage_of_destroyed(&before);
                *keys = Arc::new(after);
                return Ok(changed);
            }
            drop(keys);
            // Another change came first. These are made again on top of it.
            before.discard(&new);
        }
    }
}

impl fmt::Debug for MemoryKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: &String = &self.selection.key;
        f.debug_struct("MemoryKeyring")
            .field("key", key)
            .field("keysets", &self.keys.read().keysets)
            .finish()
    }
}
