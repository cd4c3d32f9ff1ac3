//! Wrap algorithm 1: XAES-256-GCM under a master key in this process's memory.

use super::counter::Counts;
use super::wrapping_key::{CreatedKey, KeyMaterialStore, WrappingKey};
use super::{KeyringError, SlotWriter, WrapContext};
use crate::crypto::secret::{DataKey, MASTER_KEY_LEN, MAX_DATA_KEY_LEN, MasterKey};
use crate::crypto::{CryptoError, kdf, xaes};
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel, WrapAlgorithm};
use crate::keyset::{LifecycleError, Material, NewMaterial, Origin};
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::boxed::Box;
use alloc::sync::Arc;

const ID_LABEL: &[u8] = b"envelock master key id v1";

/// Nonce, data key, tag.
const MAX_WRAPPED_LEN: usize = xaes::NONCE_LEN + MAX_DATA_KEY_LEN + xaes::TAG_LEN;

/// A master key, ready to wrap and unwrap. Boxed, so that its key schedule is not moved before it is
/// wiped.
pub(super) struct SoftwareKey {
    cipher: Box<xaes::Xaes>,
    id: MasterKeyId,
    counts: Counts,
}

impl SoftwareKey {
    /// Expands `key` and derives its id (SPEC K-MASTER). `None` for an all-zero key, which is an
    /// uninitialised variable rather than a key.
    pub(super) fn new(key: &MasterKey) -> Option<Self> {
        if crate::crypto::compare::equal(key.expose(), &[0; MASTER_KEY_LEN]) {
            return None;
        }
        let mut id = [0; 8];
        kdf::expand_sha256(key.expose(), &[ID_LABEL], &mut id).ok()?;
        let cipher = Box::new(xaes::Xaes::new(key));
        // The key schedule was moved from there.
        crate::wiped::clear_stack();
        Some(SoftwareKey { cipher, id: MasterKeyId(id), counts: Counts::default() })
    }
}

impl WrappingKey for SoftwareKey {
    fn id(&self) -> MasterKeyId {
        self.id
    }

    #[cfg(all(feature = "file", unix))]
    fn algorithm(&self) -> WrapAlgorithm {
        WrapAlgorithm::XAES_256_GCM
    }

    #[cfg(all(feature = "file", unix))]
    fn wrap_limit(&self) -> Option<u64> {
        None
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    /// SPEC W-XAES
    fn wrap(
        &self,
        data_key: &DataKey,
        label: &SlotLabel<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut wrapped = [0; MAX_WRAPPED_LEN];
        let key = data_key.expose();
        let len = xaes::NONCE_LEN + key.len() + xaes::TAG_LEN;
        let wrapped = wrapped.get_mut(..len).ok_or(KeyringError::Authentication)?;
        encrypt(&self.cipher, key, &context.wrap_aad(label), wrapped, rng)?;
        slots.push(label, wrapped)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let decrypted = decrypt(&self.cipher, slot, context, data_key);
        decrypted.map_err(|_| KeyringError::Authentication)
    }
}

/// Generates and imports software keys. The keyring stores all of them.
pub(crate) struct SoftwareSource;

impl KeyMaterialStore for SoftwareSource {
    fn make(
        &self,
        _: KeyName<'_>,
        _: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<CreatedKey, Error> {
        let (key, origin) = match source {
            Material::Fresh => {
                let key = MasterKey::generate(rng).map_err(RandomnessUnavailable::of)?;
                (key, Origin::Generated)
            }
            Material::Imported(key) => (MasterKey::from_bytes(key.expose()), Origin::Imported),
        };
        let software = SoftwareKey::new(&key).ok_or(LifecycleError::KeyMaterial)?;
        let algorithm = WrapAlgorithm::XAES_256_GCM;
        let material = NewMaterial { master_key_id: software.id(), algorithm, origin };
        Ok(CreatedKey { key: Arc::new(software), material, stored: Some(key) })
    }
}

fn encrypt(
    cipher: &xaes::Xaes,
    key: &[u8],
    aad: &[u8],
    wrapped: &mut [u8],
    rng: &mut KeyringRng<'_>,
) -> Result<(), KeyringError> {
    let no_room = || KeyringError::Authentication;
    let (nonce, rest) = wrapped.split_first_chunk_mut().ok_or_else(no_room)?;
    let (ciphertext, tag) = rest.split_last_chunk_mut().ok_or_else(no_room)?;
    rng.try_fill_bytes(nonce)?;
    let made = cipher.encrypt(nonce, aad, key, ciphertext);
    // AES copies round keys to the stack at each call.
    crate::wiped::clear_stack_of_wrap();
    *tag = made.map_err(|_| no_room())?;
    Ok(())
}

fn decrypt(
    cipher: &xaes::Xaes,
    slot: &Slot<'_>,
    context: &WrapContext<'_>,
    data_key: &mut DataKey,
) -> Result<(), CryptoError> {
    let (nonce, rest) = slot.wrapped_key.split_first_chunk().ok_or(CryptoError)?;
    let (ciphertext, tag) = rest.split_last_chunk().ok_or(CryptoError)?;
    let space = data_key.space(ciphertext.len()).ok_or(CryptoError)?;
    let opened = cipher.decrypt(nonce, &context.wrap_aad(&slot.label), ciphertext, space, tag);
    crate::wiped::clear_stack_of_wrap();
    opened
}
