//! The protection of a catalogue by a token: its file key is wrapped under a key of the token.

use super::key::TokenKey;
use super::key::generate::{destroy, generate};
use super::key::object::{ALGORITHMS, CATALOGUE_KEY, ObjectName, TokenKeyName};
use super::token::Token;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel};
use crate::keyring::wrapping_key::WrappingKey;
use crate::keyring::{Freshness, Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext};
use crate::random::KeyringRng;

/// A keyring that wraps under the key of a new catalogue, and unwraps under the key that a
/// catalogue names.
pub(crate) struct CatalogueKeyring {
    token: Token,
    generated: Option<(TokenKey, MasterKeyId)>,
}

#[expect(clippy::expect_used, reason = "the constant is a key name")]
fn name() -> KeyName<'static> {
    KeyName::new(CATALOGUE_KEY).expect("a key name")
}

impl CatalogueKeyring {
    /// For a new catalogue: generates its key.
    pub(crate) fn generate(token: Token, rng: &mut KeyringRng<'_>) -> Result<Self, crate::Error> {
        let generated = Some(generate(&token, name(), KeyVersion::FIRST, rng)?);
        Ok(CatalogueKeyring { token, generated })
    }

    /// For an existing catalogue.
    pub(crate) fn open(token: Token) -> Self {
        CatalogueKeyring { token, generated: None }
    }

    /// Destroys the generated key, since there is no catalogue.
    pub(crate) fn discard(&self) {
        if let Some((_, id)) = &self.generated {
            drop(destroy(&self.token, ObjectName::both(name(), KeyVersion::FIRST, *id)));
        }
    }

    fn primary(&self) -> Result<(&TokenKey, SlotLabel<'static>), KeyringError> {
        let (key, id) = self.generated.as_ref().ok_or(KeyringError::NoPrimary)?;
        let (version, algorithm) = (KeyVersion::FIRST, key.algorithm());
        Ok((key, SlotLabel { name: name(), version, master_key_id: *id, algorithm }))
    }
}

fn is_ours(label: &SlotLabel<'_>) -> bool {
    label.name.as_str() == CATALOGUE_KEY && ALGORITHMS.contains(&label.algorithm)
}

impl Keyring for CatalogueKeyring {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
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
        if !is_ours(&slot.label) {
            return Err(KeyringError::NotMine);
        }
        let SlotLabel { name, version, master_key_id, algorithm } = slot.label;
        let name = TokenKeyName::generated(name, version, master_key_id, algorithm);
        let key = TokenKey::new(self.token.clone(), name, master_key_id);
        key.unwrap(slot, context, data_key)
    }

    /// A key of this name has one version.
    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        Ok(if is_ours(slot) { Freshness::Primary } else { Freshness::NotMine })
    }
}
