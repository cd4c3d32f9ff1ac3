//! A keyring without some of its versions, to prove that nothing needs them.

use super::{Freshness, Keyring, KeyringError, Refusal, SlotWriter, WrapContext, forward_keyring};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, Slot, SlotLabel};
use crate::keyset::LifecycleError;
use crate::random::KeyringRng;
use alloc::string::String;
use alloc::vec::Vec;

/// A keyring that refuses listed versions of another, as if they were destroyed.
///
/// It proves before a destruction that nothing needs the versions: a message that opens through it opens
/// without them. Reads and rewraps of a slot under a listed version fail with [`Refusal::Excluded`], and
/// nothing is wrapped under one. The inner keyring decides on slots of other versions, and of other
/// key material under the same name and version.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring, RewrapOptions, keyring::WithoutVersions};
///
/// let keyring = MemoryKeyring::create("orders")?;
/// let envelope = Envelope::new(&keyring);
/// let mut message = envelope.encrypt(b"hello", Aad::none())?;
/// keyring.rotate()?;
/// let without = Envelope::new(WithoutVersions::new(&keyring).and("orders", KeyVersion::FIRST)?);
/// assert!(without.decrypt(&message, Aad::none()).is_err());
/// envelope.rewrap(&message, RewrapOptions::new())?.write_over(&mut message)?;
/// assert_eq!(without.decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
#[derive(Debug)]
pub struct WithoutVersions<K> {
    keyring: K,
    excluded: Vec<(String, KeyVersion)>,
}

impl<K: Keyring> WithoutVersions<K> {
    /// Returns a keyring around `keyring` without listed versions.
    pub fn new(keyring: K) -> Self {
        WithoutVersions { keyring, excluded: Vec::new() }
    }

    /// Lists a version of the master key `name`, which must not be an alias.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`] if the keyring has no master key of that name;
    /// [`LifecycleError::KeyName`] if the name is invalid; [`Error::Backend`] if the keyring cannot be read.
    pub fn and(mut self, name: &str, version: KeyVersion) -> Result<Self, Error> {
        let key = KeyName::new(name)?;
        let mut exists = false;
        let visited = self.keyring.holds(key, &mut |own| exists |= own == key);
        visited.map_err(Error::from_wrap)?;
        if !exists {
            return Err(LifecycleError::UnknownKey { key: name.into() }.into());
        }
        self.excluded.push((name.into(), version));
        Ok(self)
    }

    /// Returns the inner keyring.
    pub fn inner(&self) -> &K {
        &self.keyring
    }

    /// Refuses a slot that the keyring would open with a listed version.
    fn check(&self, label: &SlotLabel<'_>) -> Result<(), KeyringError> {
        match self.freshness(label)? {
            Freshness::Refused(Refusal::Excluded) => Err(KeyringError::Refused(Refusal::Excluded)),
            _ => Ok(()),
        }
    }

    fn is_listed(&self, label: &SlotLabel<'_>) -> bool {
        let is_label = |(name, version): &(String, KeyVersion)| {
            (name.as_str(), *version) == (label.name.as_str(), label.version)
        };
        self.excluded.iter().any(is_label)
    }

    /// Keeps the slots that `push` pushes unless one is under a listed version.
    fn checked(
        &self,
        slots: &mut SlotWriter<'_>,
        push: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let before = slots.slots().len();
        slots.all_of(|slots| {
            push(slots)?;
            match slots.slots().skip(before).any(|slot| self.is_listed(&slot.label)) {
                true => Err(KeyringError::Refused(Refusal::Excluded)),
                false => Ok(()),
            }
        })
    }
}

impl<K: Keyring> Keyring for WithoutVersions<K> {
    forward_keyring!(self => self.keyring; visit_primaries, holds);

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.checked(slots, |slots| self.keyring.wrap(data_key, context, slots, rng))
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let wrap = |slots: &mut SlotWriter<'_>| {
            self.keyring.wrap_under(name, data_key, context, slots, rng)
        };
        self.checked(slots, wrap)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.check(&slot.label)?;
        self.keyring.unwrap(slot, context, data_key)
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.check(&slot.label)?;
        self.checked(slots, |slots| self.keyring.rewrap(slot, context, slots, rng))
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let freshness = self.keyring.freshness(slot)?;
        Ok(match freshness {
            Freshness::NotMine => Freshness::NotMine,
            _ if self.is_listed(slot) => Freshness::Refused(Refusal::Excluded),
            freshness => freshness,
        })
    }
}
