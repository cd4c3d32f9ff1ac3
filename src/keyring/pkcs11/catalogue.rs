//! The protection of a key file by a token: its file key is a message under a key of its own there.

use super::key::generate::ALGORITHMS;
use super::key::object::ObjectName;
use super::key::{TokenKey, TokenKeyName};
use super::token::Inner;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel};
use crate::keyring::held::HeldKey;
use crate::keyring::{Freshness, Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use alloc::sync::Arc;

/// The name of the keys that protect key files. No other key opens one: else whoever may have data
/// keys wrapped under another key of the token could make a file of his own.
pub(crate) const NAME: &str = "envelock.key-file";

/// A keyring with one version: to make a file, its own key; to open one, whichever key of the name
/// the file says it is under.
pub(crate) struct CatalogueKeyring {
    token: Arc<Inner>,
    made: Option<(TokenKey, MasterKeyId)>,
}

fn name() -> Result<KeyName<'static>, KeyringError> {
    KeyName::new(NAME).map_err(|_| KeyringError::NoPrimary)
}

impl CatalogueKeyring {
    /// For a new file: makes its key.
    pub(crate) fn make(token: Arc<Inner>, rng: &mut KeyringRng<'_>) -> Result<Self, crate::Error> {
        let made = token.generate(KeyName::new(NAME)?, KeyVersion::FIRST, rng)?;
        Ok(CatalogueKeyring { token, made: Some(made) })
    }

    /// For a file there is.
    pub(crate) fn open(token: Arc<Inner>) -> Self {
        CatalogueKeyring { token, made: None }
    }

    /// Destroys the key that was made, since there is no file.
    pub(crate) fn discard(&self) {
        if let (Some((_, id)), Ok(name)) = (&self.made, name()) {
            drop(self.token.destroy_keys(ObjectName::both(name, KeyVersion::FIRST, *id)));
        }
    }

    fn primary(&self) -> Result<(&TokenKey, SlotLabel<'static>), KeyringError> {
        let (key, id) = self.made.as_ref().ok_or(KeyringError::NoPrimary)?;
        let algorithm = key.algorithm();
        let (name, version) = (name()?, KeyVersion::FIRST);
        Ok((key, SlotLabel { name, version, master_key_id: *id, algorithm }))
    }
}

impl Keyring for CatalogueKeyring {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let (_, label) = self.primary()?;
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
        let (key, label) = self.primary()?;
        key.wrap(data_key, &label, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let SlotLabel { name, version, master_key_id, algorithm } = slot.label;
        if name.as_str() != NAME || !ALGORITHMS.contains(&algorithm) {
            return Err(KeyringError::NotMine);
        }
        let name = TokenKeyName::ours(name, version, master_key_id, algorithm);
        let key = TokenKey::new(self.token.clone(), name, master_key_id);
        key.unwrap(slot, context, data_key)
    }

    /// A key of this name has one version for life.
    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let is_ours = slot.name.as_str() == NAME && ALGORITHMS.contains(&slot.algorithm);
        Ok(if is_ours { Freshness::Primary } else { Freshness::NotMine })
    }
}
