//! A version of a master key that a token holds.

pub(crate) mod cbc_hmac;
pub(crate) mod gcm;
pub(crate) mod generate;
pub(crate) mod known_answers;
pub(crate) mod object;
pub(crate) mod wiped;
pub(crate) mod wrap;

use self::object::{ObjectName, Role};
use self::wrap::{IvBytes, MAX_IV_LEN, Output, TRIAL_WRAPS};
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel, WrapAlgorithm};
use crate::keyring::counter::Counts;
use crate::keyring::held::HeldKey;
use crate::keyring::pkcs11::error::Error;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::token::Inner;
use crate::keyring::{KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use zeroize::Zeroizing;

/// What a version is called, in headers and on the token.
pub(crate) struct TokenKeyName {
    pub(crate) name: String,
    pub(crate) version: KeyVersion,
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) encrypt: ObjectName,
    /// For wrap algorithm 3.
    pub(crate) mac: Option<ObjectName>,
}

impl TokenKeyName {
    /// The names of a version whose keys we generated.
    pub(crate) fn ours(
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
    pub(crate) fn iv_len(&self) -> usize {
        if self.mac.is_some() { self::cbc_hmac::IV_LEN } else { self::gcm::IV_LEN }
    }

    /// The error of a failure, with the names added.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let (key, version) = (self.name.clone(), self.version);
        match failure {
            Failure::KeyMissing => Error::KeyNotFound { key, version },
            Failure::KeyNotUnique => Error::KeyNotUnique { key, version },
            Failure::WeakKey(fault) => Error::WeakKey { key, version, fault },
            failure => Error::from_failure(failure),
        }
    }
}

/// A version that is set up: nothing is asked of the token before it is used.
pub(crate) struct TokenKey {
    token: Arc<Inner>,
    name: Arc<TokenKeyName>,
    id: MasterKeyId,
    counts: Counts,
}

/// Random IVs of 96 bits: NIST SP 800-38D, section 8.3.
const GCM_WRAP_LIMIT: u64 = 1 << 32;

impl TokenKey {
    pub(crate) fn new(
        token: Arc<Inner>,
        name: impl Into<Arc<TokenKeyName>>,
        id: MasterKeyId,
    ) -> Self {
        TokenKey { token, name: name.into(), id, counts: Counts::default() }
    }

    fn wrapped(&self, aad: &[u8], key: &[u8], iv: IvBytes) -> Result<Output, Failure> {
        self.token.check_process()?;
        if !self.token.call_threads.has_deadline() {
            return self.token.wrap(&self.name, aad, key, iv);
        }
        let (token, name) = (self.token.clone(), self.name.clone());
        let (aad, key) = (aad.to_vec(), Zeroizing::new(key.to_vec()));
        self.token.call_threads.call(Duration::ZERO, move || token.wrap(&name, &aad, &key, iv))?
    }

    fn unwrapped(&self, aad: &[u8], blob: &[u8]) -> Result<Output, Failure> {
        self.token.check_process()?;
        if !self.token.call_threads.has_deadline() {
            return self.token.unwrap(&self.name, aad, blob);
        }
        let (token, name) = (self.token.clone(), self.name.clone());
        let (aad, blob) = (aad.to_vec(), blob.to_vec());
        self.token.call_threads.call(Duration::ZERO, move || token.unwrap(&name, &aad, &blob))?
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
