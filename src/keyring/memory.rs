//! Master keys in this process's memory.

use super::software::SoftwareKey;
use super::sync::RwLock;
use super::{Freshness, Keyring, KeyringError, PrimaryKey, Refusal, WrapContext};
use crate::crypto::secret::{DataKey, MasterKey};
use crate::error::Error;
use crate::format::{KeyVersion, Slot, SlotLabel, SlotWriter, WrapAlgorithm};
use crate::keyset::{Keyset, VersionRecord};
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::vec::Vec;
use core::fmt;
use rand_core::TryCryptoRng;

/// A keyring in memory: one named master key with versions, wrapped by XAES-256-GCM.
///
/// For tests, for keys that arrive from elsewhere (an environment, a secret store), and as the
/// model of every other keyring. When the process ends the keys are gone, and so is everything
/// encrypted under keys that were not imported.
///
/// Shared by reference among threads: a rotation waits for wraps under way and the next one uses
/// the new version.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring};
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
    state: RwLock<State>,
}

/// The versions' records, and their keys in the same order.
struct State {
    keyset: Keyset,
    keys: Vec<(KeyVersion, SoftwareKey)>,
}

impl State {
    fn key(&self, version: KeyVersion) -> Option<&SoftwareKey> {
        self.keys.iter().find(|(number, _)| *number == version).map(|(_, key)| key)
    }

    /// Label and key that wrap now.
    fn primary(&self) -> Result<(SlotLabel<'_>, &SoftwareKey), KeyringError> {
        let version = self.keyset.primary().ok_or(KeyringError::NoPrimary)?;
        let key = self.key(version).ok_or(KeyringError::NoPrimary)?;
        let label = SlotLabel {
            name: self.keyset.name(),
            version,
            master_key_id: key.id(),
            algorithm: WrapAlgorithm::XAES_256_GCM,
        };
        Ok((label, key))
    }

    /// The key of a slot, or why it is not to be used.
    fn key_for(&self, label: &SlotLabel<'_>) -> Result<&SoftwareKey, KeyringError> {
        // SPEC W-ONE: of another algorithm is another's, even under a version that is ours.
        if label.name != self.keyset.name() || label.algorithm != WrapAlgorithm::XAES_256_GCM {
            return Err(KeyringError::NotMine);
        }
        // SPEC O-NOFALLBACK
        let unknown = KeyringError::Refused(Refusal::UnknownVersion);
        let record = self.keyset.version(label.version).ok_or(unknown)?;
        if record.master_key_id != label.master_key_id {
            // Same label, other material: another environment's, or a restored backup's.
            return Err(KeyringError::NotMine);
        }
        if let Some(refusal) = record.state.unwrap_refusal() {
            return Err(KeyringError::Refused(refusal));
        }
        self.key(label.version).ok_or(KeyringError::Refused(Refusal::Destroyed))
    }

    fn add(&mut self, version: KeyVersion, key: &MasterKey) -> Result<(), Error> {
        let key = SoftwareKey::new(key).ok_or(Error::KeyMaterial)?;
        if self.keys.iter().any(|(_, other)| other.id() == key.id()) {
            return Err(Error::KeyMaterial);
        }
        self.keyset.add(version, key.id(), WrapAlgorithm::XAES_256_GCM)?;
        self.keys.push((version, key));
        Ok(())
    }
}

impl MemoryKeyring {
    /// Makes a keyring with a fresh version 1 as its primary.
    ///
    /// # Errors
    ///
    /// [`Error::KeyName`] if the name is invalid or longer than 64 bytes; [`Error::Randomness`].
    #[cfg(feature = "std")]
    pub fn create(name: &str) -> Result<Self, Error> {
        MemoryKeyring::create_with_rng(name, &mut crate::OsRandom)
    }

    /// As [`create`](Self::create), from a generator of the caller's.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with_rng<R>(name: &str, rng: &mut R) -> Result<Self, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let keyset = Keyset::new(name)?;
        let key = MasterKey::generate(rng).map_err(|_| RandomnessUnavailable)?;
        MemoryKeyring::with_first(keyset, KeyVersion::FIRST, &key)
    }

    /// Makes a keyring of key material from elsewhere: `version`, its only one, is the primary.
    ///
    /// More versions come with [`import_version`](Self::import_version).
    ///
    /// # Errors
    ///
    /// [`Error::KeyName`] if the name is invalid or longer than 64 bytes; [`Error::KeyMaterial`]
    /// if the key is all zero.
    pub fn import(name: &str, version: KeyVersion, key: &MasterKey) -> Result<Self, Error> {
        MemoryKeyring::with_first(Keyset::new(name)?, version, key)
    }

    fn with_first(keyset: Keyset, version: KeyVersion, key: &MasterKey) -> Result<Self, Error> {
        let mut state = State { keyset, keys: Vec::new() };
        state.add(version, key)?;
        state.keyset.promote(version)?;
        Ok(MemoryKeyring { state: RwLock::new(state) })
    }

    /// Adds a version of key material from elsewhere, pending: it unwraps and does not wrap.
    ///
    /// # Errors
    ///
    /// [`Error::VersionNumber`] if `version` is not above every version there is;
    /// [`Error::KeyMaterial`] if the key is all zero or another version's.
    pub fn import_version(&self, version: KeyVersion, key: &MasterKey) -> Result<(), Error> {
        self.state.write().add(version, key)
    }

    /// Adds a fresh version, pending: it unwraps and does not wrap, so that it can be handed to
    /// every process before the first message needs it.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`]; [`Error::VersionNumber`] after 2^32 - 1 versions.
    #[cfg(feature = "std")]
    pub fn add_version(&self) -> Result<KeyVersion, Error> {
        self.add_version_with_rng(&mut crate::OsRandom)
    }

    /// As [`add_version`](Self::add_version), from a generator of the caller's.
    ///
    /// # Errors
    ///
    /// As [`add_version`](Self::add_version).
    pub fn add_version_with_rng<R>(&self, rng: &mut R) -> Result<KeyVersion, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        self.add_fresh(rng, |_, _| Ok(()))
    }

    /// Makes `version` the primary: it wraps from now on. An older enabled version may come
    /// back, to undo a rotation.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVersion`]; [`Error::VersionState`] if it is disabled.
    pub fn promote(&self, version: KeyVersion) -> Result<(), Error> {
        self.state.write().keyset.promote(version)
    }

    /// Adds a fresh version and promotes it. Messages of older versions keep opening.
    ///
    /// # Errors
    ///
    /// As [`add_version`](Self::add_version).
    #[cfg(feature = "std")]
    pub fn rotate(&self) -> Result<KeyVersion, Error> {
        self.rotate_with_rng(&mut crate::OsRandom)
    }

    /// As [`rotate`](Self::rotate), from a generator of the caller's.
    ///
    /// # Errors
    ///
    /// As [`add_version`](Self::add_version).
    pub fn rotate_with_rng<R>(&self, rng: &mut R) -> Result<KeyVersion, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        self.add_fresh(rng, Keyset::promote)
    }

    fn add_fresh<R>(
        &self,
        rng: &mut R,
        then: fn(&mut Keyset, KeyVersion) -> Result<(), Error>,
    ) -> Result<KeyVersion, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        // Made outside of the lock: the generator may block.
        let key = MasterKey::generate(rng).map_err(|_| RandomnessUnavailable)?;
        let mut state = self.state.write();
        let version = state.keyset.next_version()?;
        state.add(version, &key)?;
        then(&mut state.keyset, version)?;
        Ok(version)
    }

    /// Lets a disabled version unwrap again.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVersion`]; [`Error::VersionState`] if it is not disabled.
    pub fn enable(&self, version: KeyVersion) -> Result<(), Error> {
        self.state.write().keyset.enable(version)
    }

    /// Stops a version from unwrapping; [`enable`](Self::enable) takes it back. The way to find
    /// out what still needs a version before it is destroyed.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVersion`]; [`Error::VersionState`] if it is the primary, or disabled
    /// already.
    pub fn disable(&self, version: KeyVersion) -> Result<(), Error> {
        self.state.write().keyset.disable(version)
    }

    /// The primary version.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.state.read().keyset.primary()
    }

    /// Every version's record, lowest first.
    pub fn versions(&self) -> Vec<VersionRecord> {
        self.state.read().keyset.versions().to_vec()
    }
}

impl Keyring for MemoryKeyring {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let state = self.state.read();
        let (label, _) = state.primary()?;
        visit(&PrimaryKey { label, max_wrapped_key_len: None });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let state = self.state.read();
        let (label, key) = state.primary()?;
        key.wrap(data_key, &label, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.state.read().key_for(&slot.label)?.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let state = self.state.read();
        let (primary, _) = state.primary()?;
        Ok(match state.key_for(slot) {
            Err(KeyringError::NotMine) => Freshness::NotMine,
            Err(KeyringError::Refused(refusal)) => Freshness::Refused(refusal),
            _ if primary.same_key(slot) => Freshness::Primary,
            _ => Freshness::Stale,
        })
    }
}

impl fmt::Debug for MemoryKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyring").field("keyset", &self.state.read().keyset).finish()
    }
}
