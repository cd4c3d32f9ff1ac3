//! A version of a master key that a token holds.

use super::error::Pkcs11Error;
use super::failure::{self, Failure};
use super::object::{ObjectName, Role};
use super::operations::{IvBytes, MAX_IV_LEN, Output, TRIAL_WRAPS};
use super::token::Token;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel, WrapAlgorithm};
use crate::keyring::counter::Counts;
use crate::keyring::held::HeldKey;
use crate::keyring::{KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use zeroize::Zeroizing;

/// What a version is called, in headers and on the token.
pub(super) struct TokenKeyName {
    pub(super) name: String,
    pub(super) version: KeyVersion,
    pub(super) algorithm: WrapAlgorithm,
    pub(super) encrypt: ObjectName,
    /// For wrap algorithm 3.
    pub(super) mac: Option<ObjectName>,
}

impl TokenKeyName {
    /// The names of a version whose keys we generated.
    pub(super) fn ours(
        name: KeyName<'_>,
        version: KeyVersion,
        id: MasterKeyId,
        algorithm: WrapAlgorithm,
    ) -> Self {
        let object = |role| ObjectName::ours(name, version, id, role);
        let needs_mac = algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC;
        TokenKeyName {
            name: name.as_str().into(),
            version,
            algorithm,
            encrypt: object(Role::Encrypt),
            mac: needs_mac.then(|| object(Role::Mac)),
        }
    }

    /// Length of the IV that a blob begins with.
    pub(super) fn iv_len(&self) -> usize {
        if self.mac.is_some() { super::etm::IV_LEN } else { super::gcm::IV_LEN }
    }

    /// The error of a failure, with the names added.
    pub(super) fn error(&self, failure: Failure) -> Pkcs11Error {
        let (key, version) = (self.name.clone(), self.version);
        match failure {
            Failure::KeyMissing => Pkcs11Error::KeyNotFound { key, version },
            Failure::KeyNotUnique => Pkcs11Error::KeyNotUnique { key, version },
            Failure::WeakKey(fault) => Pkcs11Error::WeakKey { key, version, fault },
            failure => Pkcs11Error::from_failure(failure),
        }
    }
}

/// A version that is set up: nothing is asked of the token before it is used.
pub(super) struct TokenKey {
    token: Arc<Token>,
    name: Arc<TokenKeyName>,
    id: MasterKeyId,
    counts: Counts,
}

/// Random IVs of 96 bits: NIST SP 800-38D, section 8.3.
const GCM_WRAP_LIMIT: u64 = 1 << 32;

impl TokenKey {
    pub(super) fn new(
        token: Arc<Token>,
        name: impl Into<Arc<TokenKeyName>>,
        id: MasterKeyId,
    ) -> Self {
        TokenKey { token, name: name.into(), id, counts: Counts::default() }
    }

    fn wrapped(&self, aad: &[u8], key: &[u8], iv: IvBytes) -> Result<Output, Failure> {
        self.token.check_process()?;
        if !self.token.workers.has_deadline() {
            return self.token.wrap(&self.name, aad, key, iv);
        }
        let (token, name) = (self.token.clone(), self.name.clone());
        let (aad, key) = (aad.to_vec(), Zeroizing::new(key.to_vec()));
        self.token.workers.call(Duration::ZERO, move || token.wrap(&name, &aad, &key, iv))?
    }

    fn unwrapped(&self, aad: &[u8], blob: &[u8]) -> Result<Output, Failure> {
        self.token.check_process()?;
        if !self.token.workers.has_deadline() {
            return self.token.unwrap(&self.name, aad, blob);
        }
        let (token, name) = (self.token.clone(), self.name.clone());
        let (aad, blob) = (aad.to_vec(), blob.to_vec());
        self.token.workers.call(Duration::ZERO, move || token.unwrap(&name, &aad, &blob))?
    }
}

impl HeldKey for TokenKey {
    fn id(&self) -> MasterKeyId {
        self.id
    }

    fn algorithm(&self) -> WrapAlgorithm {
        self.name.algorithm
    }

    fn wrap_limit(&self) -> Option<u64> {
        let is_gcm = self.name.algorithm == WrapAlgorithm::TOKEN_AES_256_GCM;
        is_gcm.then_some(GCM_WRAP_LIMIT)
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    /// As many threads may try the key out at once as there are sessions.
    fn trials(&self) -> u64 {
        let trials = self.token.options.max_sessions.saturating_mul(TRIAL_WRAPS);
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
        let wrapped = self.wrapped(&context.wrap_aad(label), data_key.expose(), iv);
        let wrapped = wrapped.map_err(|failure| KeyringError::from(self.name.error(failure)))?;
        slots.push(label, wrapped.bytes())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        data_key.wipe();
        let aad = context.wrap_aad(&slot.label);
        match self.unwrapped(&aad, slot.wrapped_key) {
            Ok(key) if data_key.set(key.bytes()) => Ok(()),
            Ok(_) | Err(Failure::Authentication) => Err(KeyringError::Authentication),
            Err(Failure::Call(call)) if failure::is_disabled(&call) => {
                Err(KeyringError::Refused(Refusal::Disabled))
            }
            Err(failure) => Err(KeyringError::from(self.name.error(failure))),
        }
    }
}
