//! A keyring of which every process has the same keys, with slots of a chosen length; hides
//! nothing.

#![allow(dead_code)] // Not every test uses all of it.

use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const NONCE_LEN: usize = 16;
const SHORTEST: usize = NONCE_LEN + 32;

/// Every byte of a wrap depends on its nonce and is checked, so that no mixture of two opens.
pub struct Elastic {
    primary: AtomicU32,
    /// How much longer a slot is than that of the version before.
    growth: usize,
    /// How long that of version 0 would be.
    len: usize,
}

impl Elastic {
    /// Slots that are `len` bytes long under version 1, and `growth` more under each later one.
    pub fn new(len: usize, growth: usize) -> Self {
        assert!(len >= SHORTEST + growth);
        Elastic { primary: AtomicU32::new(1), growth, len: len - growth }
    }

    pub fn promote(&self, version: u32) {
        self.primary.store(version, Relaxed);
    }

    pub fn primary(&self) -> u32 {
        self.primary.load(Relaxed)
    }

    fn wrapped(&self, key: &[u8], nonce: &[u8], version: u32) -> Vec<u8> {
        let len = self.len + self.growth * version as usize;
        let mut wrapped = nonce.to_vec();
        for at in 0..len - NONCE_LEN {
            let mut hasher = DefaultHasher::new();
            // The filler depends on the key, so that it is a tag, too.
            (nonce, version, at, (at >= 32).then_some(key)).hash(&mut hasher);
            wrapped.push(hasher.finish() as u8 ^ key.get(at).copied().unwrap_or(0));
        }
        wrapped
    }
}

fn label(version: u32) -> SlotLabel<'static> {
    SlotLabel {
        name: KeyName::new("elastic").unwrap(),
        version: KeyVersion::new(version).unwrap(),
        master_key_id: MasterKeyId([7; 8]),
        algorithm: WrapAlgorithm::new(200).unwrap(),
    }
}

impl Keyring for Elastic {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let version = self.primary();
        let len = self.len + self.growth * version as usize;
        visit(&PrimaryKey { label: label(version), max_wrapped_key_len: Some(len) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut nonce = [0; NONCE_LEN];
        rng.try_fill_bytes(&mut nonce)?;
        let version = self.primary();
        slots.push(&label(version), &self.wrapped(data_key.expose(), &nonce, version))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let version = slot.label.version.number();
        if slot.label != label(version) {
            return Err(KeyringError::NotMine);
        }
        let (nonce, rest) = slot.wrapped_key.split_at(NONCE_LEN);
        let stream = self.wrapped(&[0; 32], nonce, version);
        let key_len = context.suite().data_key_len();
        let key: Vec<u8> = rest.iter().zip(&stream[NONCE_LEN..]).map(|(a, b)| a ^ b).collect();
        let key = &key[..key_len];
        if self.wrapped(key, nonce, version) != slot.wrapped_key || !data_key.set(key) {
            return Err(KeyringError::Authentication);
        }
        Ok(())
    }
}
