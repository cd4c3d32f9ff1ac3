//! A version of a master key on a token.

pub(crate) mod cbc_hmac;
pub(crate) mod cipher;
pub(crate) mod gcm;
pub(crate) mod generate;
pub(crate) mod known_answers;
pub(crate) mod object;
pub(crate) mod self_test;
pub(crate) mod wrap;

use self::cipher::{MAX_IV_LEN, SELF_TEST_WRAPS};
use self::object::TokenKeyName;
use self::wrap::KeyOperation;
use crate::crypto::secret::DataKey;
use crate::format::{MasterKeyId, Slot, SlotLabel, WrapAlgorithm};
use crate::keyring::counter::Counts;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::token::Token;
use crate::keyring::wrapping_key::WrappingKey;
use crate::keyring::{KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use alloc::sync::Arc;
use core::time::Duration;
use zeroize::Zeroizing;

/// A version that is ready for use. The token is not accessed before its first use.
pub(crate) struct TokenKey {
    token: Token,
    name: Arc<TokenKeyName>,
    id: MasterKeyId,
    counts: Counts,
}

/// Random IVs of 96 bits: NIST SP 800-38D, section 8.3.
const GCM_WRAP_LIMIT: u64 = 1 << 32;

impl TokenKey {
    pub(crate) fn new(token: Token, name: impl Into<Arc<TokenKeyName>>, id: MasterKeyId) -> Self {
        TokenKey { token, name: name.into(), id, counts: Counts::default() }
    }
}

impl WrappingKey for TokenKey {
    fn id(&self) -> MasterKeyId {
        self.id
    }

    fn algorithm(&self) -> WrapAlgorithm {
        self.name.algorithm
    }

    fn wrap_limit(&self) -> Option<u64> {
        self.name.is_gcm().then_some(GCM_WRAP_LIMIT)
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    /// As many threads may test the key at once as there are sessions.
    fn trials(&self) -> u64 {
        // Saturates: no process opens as many sessions.
        let trials = self.token.0.options.max_sessions.saturating_mul(SELF_TEST_WRAPS);
        u64::try_from(trials).unwrap_or(u64::MAX)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        label: &SlotLabel<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut iv = [0; MAX_IV_LEN];
        rng.try_fill_bytes(&mut iv)?;
        let (name, aad) = (self.name.clone(), context.wrap_aad(label).to_vec());
        let key = Zeroizing::new(data_key.expose().to_vec());
        let wrapped = self
            .token
            .call(Duration::ZERO, move |token| KeyOperation::new(token, &name).wrap(&aad, &key, iv))
            .map_err(|failure| KeyringError::from(self.name.error(failure)))?;
        slots.push(label, wrapped.bytes())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        data_key.wipe();
        let (name, aad) = (self.name.clone(), context.wrap_aad(&slot.label).to_vec());
        let wrapped = slot.wrapped_key.to_vec();
        let unwrapped = self
            .token
            .call(Duration::ZERO, move |it| KeyOperation::new(it, &name).unwrap(&aad, &wrapped));
        match unwrapped {
            Ok(key) if data_key.set(key.bytes()) => Ok(()),
            Ok(_) | Err(Failure::Authentication) => Err(KeyringError::Authentication),
            Err(Failure::Call(call)) if failure::is_disabled(&call) => {
                Err(KeyringError::Refused(Refusal::Disabled))
            }
            Err(failure) => Err(KeyringError::from(self.name.error(failure))),
        }
    }
}
