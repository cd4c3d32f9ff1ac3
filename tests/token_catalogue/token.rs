//! A simulated token, which records its calls.

use super::simulated_directory::SimulatedDirectory;
use crate::keyring::counter::Counts;
use crate::keyring::software::SoftwareSource;
use crate::keyring::wrapping_key::{CreatedKey, CreatedVersion, KeyMaterialStore, WrappingKey};
use crate::keyset::LifecycleError;
use crate::{
    BackendError, DataKey, Error, KeyName, KeyVersion, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, RandomnessUnavailable, SlotWriter, WrapContext},
    keyset::{Material, NewMaterial, Origin, VersionRecord},
};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;

/// The name of a key.
pub type KeyLabel = (String, KeyVersion, MasterKeyId);

/// An operation of the token on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Made,
    Discarded,
    Destroyed,
}

/// A simulated token. Clones are handles of one token.
#[derive(Clone)]
pub struct Token(Arc<State>);

struct State {
    algorithm: WrapAlgorithm,
    limit: Option<u64>,
    keys: Mutex<BTreeMap<KeyLabel, [u8; 32]>>,
    deeds: Mutex<Vec<(Deed, KeyLabel)>>,
    /// The directory whose calls are the clock, and the time of each operation.
    clock: Mutex<Option<SimulatedDirectory>>,
    times: Mutex<Vec<(Deed, usize)>>,
    /// The usage that keys begin with when they are set up.
    used: AtomicU64,
    is_unavailable: AtomicBool,
    /// Whether imported keys are handed on to software.
    takes_imports: bool,
}

impl Token {
    fn with(algorithm: WrapAlgorithm, limit: Option<u64>, takes_imports: bool) -> Self {
        Token(Arc::new(State {
            algorithm,
            limit,
            keys: Mutex::default(),
            deeds: Mutex::default(),
            clock: Mutex::default(),
            times: Mutex::default(),
            used: AtomicU64::new(0),
            is_unavailable: AtomicBool::new(false),
            takes_imports,
        }))
    }

    /// Wrap algorithm 2, no limit.
    pub fn new() -> Self {
        Token::with(WrapAlgorithm::TOKEN_AES_256_GCM, None, false)
    }

    pub fn of(algorithm: WrapAlgorithm) -> Self {
        Token::with(algorithm, None, false)
    }

    /// Each version wraps so many data keys.
    pub fn limited(limit: u64) -> Self {
        Token::with(WrapAlgorithm::TOKEN_AES_256_GCM, Some(limit), false)
    }

    /// Imported keys become software keys beside those on the token.
    pub fn mixed() -> Self {
        Token::with(WrapAlgorithm::TOKEN_AES_256_GCM, None, true)
    }

    pub fn source(&self) -> Arc<dyn KeyMaterialStore> {
        Arc::new(self.clone())
    }

    /// Keys that are set up from now on have wrapped so often already.
    pub fn begin_with(&self, used: u64) {
        self.0.used.store(used, SeqCst);
    }

    /// Whether the token is unavailable.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.0.is_unavailable.store(is_unavailable, SeqCst);
    }

    /// The operations since the last call.
    pub fn deeds(&self) -> Vec<(Deed, u32)> {
        let deeds = core::mem::take(&mut *self.0.deeds.lock().unwrap());
        deeds.into_iter().map(|(deed, (_, version, _))| (deed, version.number())).collect()
    }

    /// The versions that it has keys of.
    pub fn versions(&self) -> Vec<u32> {
        self.0.keys.lock().unwrap().keys().map(|(_, version, _)| version.number()).collect()
    }

    /// From now on the time of a deed is the number of calls that `directory` has seen.
    pub fn set_clock(&self, directory: &SimulatedDirectory) {
        *self.0.clock.lock().unwrap() = Some(directory.clone());
    }

    /// When the token was asked for a deed, by the clock.
    pub fn time_of(&self, deed: Deed) -> Option<usize> {
        let times = self.0.times.lock().unwrap();
        times.iter().find(|(of, _)| *of == deed).map(|(_, time)| *time)
    }

    fn note(&self, deed: Deed, key_label: KeyLabel) {
        self.0.deeds.lock().unwrap().push((deed, key_label));
        if let Some(directory) = &*self.0.clock.lock().unwrap() {
            self.0.times.lock().unwrap().push((deed, directory.calls().len()));
        }
    }

    fn remove(&self, deed: Deed, key_label: KeyLabel) {
        if self.0.keys.lock().unwrap().remove(&key_label).is_some() || deed == Deed::Discarded {
            self.note(deed, key_label);
        }
    }

    fn key_object(&self, key_label: KeyLabel, algorithm: WrapAlgorithm) -> Arc<dyn WrappingKey> {
        let counts = Counts::begun_with(self.0.used.load(SeqCst));
        Arc::new(Key { token: self.clone(), key_label, algorithm, counts })
    }

    fn answer(&self) -> Result<(), KeyringError> {
        let no_answer = || KeyringError::unavailable(RandomnessUnavailable::new());
        (!self.0.is_unavailable.load(SeqCst)).then_some(()).ok_or_else(no_answer)
    }
}

impl KeyMaterialStore for Token {
    fn make(
        &self,
        name: KeyName<'_>,
        version: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<CreatedKey, Error> {
        match source {
            Material::Imported(_) if self.0.takes_imports => {
                return SoftwareSource.make(name, version, source, rng);
            }
            Material::Imported(_) => return Err(Error::Lifecycle(LifecycleError::ImportRefused)),
            Material::Fresh => {}
        }
        self.answer().map_err(Error::from_wrap)?;
        let mut bytes = [0; 40];
        rng.try_fill_bytes(&mut bytes).map_err(|_| RandomnessUnavailable::new())?;
        let (id, key) = bytes.split_first_chunk().unwrap();
        let (master_key_id, algorithm) = (MasterKeyId(*id), self.0.algorithm);
        let key_label = (name.as_str().into(), version, master_key_id);
        self.0.keys.lock().unwrap().insert(key_label.clone(), key.try_into().unwrap());
        self.note(Deed::Made, key_label.clone());
        let material = NewMaterial { master_key_id, algorithm, origin: Origin::Token };
        Ok(CreatedKey { key: self.key_object(key_label, algorithm), material, stored: None })
    }

    fn can_make(&self, algorithm: WrapAlgorithm) -> bool {
        algorithm == self.0.algorithm || SoftwareSource.can_make(algorithm)
    }

    fn attach(&self, name: KeyName<'_>, record: &VersionRecord) -> Option<Arc<dyn WrappingKey>> {
        let key_label = (name.as_str().into(), record.version, record.master_key_id);
        (record.algorithm == self.0.algorithm).then(|| self.key_object(key_label, record.algorithm))
    }

    fn discard(&self, made: &[CreatedVersion]) {
        for CreatedVersion { name, version, material } in made {
            self.remove(Deed::Discarded, (name.clone(), *version, material.master_key_id));
        }
    }

    fn destroy<'k>(
        &self,
        records: &mut dyn Iterator<Item = (KeyName<'k>, &'k VersionRecord)>,
    ) -> Result<(), BackendError> {
        self.answer().map_err(|error| match error {
            KeyringError::Backend(error) => error,
            other => panic!("{other}"),
        })?;
        for (name, record) in records {
            let key_label = (name.as_str().into(), record.version, record.master_key_id);
            self.remove(Deed::Destroyed, key_label);
        }
        Ok(())
    }
}

/// A key of the token.
struct Key {
    token: Token,
    key_label: KeyLabel,
    algorithm: WrapAlgorithm,
    counts: Counts,
}

impl Key {
    fn cipher(&self) -> Result<Aes256Gcm, KeyringError> {
        self.token.answer()?;
        let keys = self.token.0.keys.lock().unwrap();
        let no_key = || KeyringError::unavailable(RandomnessUnavailable::new());
        Ok(Aes256Gcm::new(keys.get(&self.key_label).ok_or_else(no_key)?.into()))
    }

    /// Bytes of zero behind the initialisation vector and behind the tag: the lengths of
    /// algorithm 3 without its ciphers.
    fn padding(&self) -> (usize, usize) {
        if self.algorithm == WrapAlgorithm::TOKEN_AES_256_GCM { (0, 0) } else { (4, 16) }
    }
}

impl WrappingKey for Key {
    fn id(&self) -> MasterKeyId {
        self.key_label.2
    }

    fn algorithm(&self) -> WrapAlgorithm {
        self.algorithm
    }

    fn wrap_limit(&self) -> Option<u64> {
        self.token.0.limit
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        label: &SlotLabel<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let cipher = self.cipher()?;
        let mut nonce = [0; 12];
        rng.try_fill_bytes(&mut nonce)?;
        let mut key = data_key.expose().to_vec();
        let aad = context.wrap_aad(label);
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &aad, key.as_mut_slice().into());
        let (behind, end) = self.padding();
        let parts: [&[u8]; 5] = [&nonce, &[0; 4][..behind], &key, &tag.unwrap(), &[0; 16][..end]];
        slots.push(label, &parts.concat())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let cipher = self.cipher()?;
        let (behind, end) = self.padding();
        let mut open = || {
            let (nonce, rest) = slot.wrapped_key.split_first_chunk::<12>()?;
            let (zeros, rest) = rest.split_at_checked(behind)?;
            let (rest, more) = rest.split_at_checked(rest.len().checked_sub(end)?)?;
            let (key, tag) = rest.split_last_chunk::<16>()?;
            let (mut key, aad) = (key.to_vec(), context.wrap_aad(&slot.label));
            let buffer = key.as_mut_slice().into();
            cipher.decrypt_inout_detached(nonce.into(), &aad, buffer, tag.into()).ok()?;
            let is_padded = zeros.iter().chain(more).all(|byte| *byte == 0);
            (is_padded && data_key.set(&key)).then_some(())
        };
        open().ok_or(KeyringError::Authentication)
    }
}
