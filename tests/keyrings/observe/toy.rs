//! A keyring of another crate: hides nothing, returns chosen results.

use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::sync::Mutex;

/// Where a [`Toy`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Primary,
    Wrap,
    Unwrap,
    Rewrap,
}

/// "Wraps" data keys by inverting their bits, in slots of a chosen length.
pub struct Toy {
    pub name: &'static str,
    pub version: KeyVersion,
    pub slot_len: usize,
    pub failure: Mutex<Option<(Method, KeyringError)>>,
    /// Unwraps to another key than was wrapped.
    pub careless: bool,
}

impl Toy {
    pub fn new(name: &'static str) -> Self {
        let version = KeyVersion::FIRST;
        Toy { name, version, slot_len: 32, failure: Mutex::new(None), careless: false }
    }

    pub fn fail(&self, method: Method, error: KeyringError) {
        *self.failure.lock().unwrap() = Some((method, error));
    }

    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(self.name).unwrap(),
            version: self.version,
            master_key_id: MasterKeyId([7; 8]),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }

    fn answer(&self, method: Method) -> Result<(), KeyringError> {
        match &*self.failure.lock().unwrap() {
            Some((failing, error)) if *failing == method => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl Keyring for Toy {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.answer(Method::Primary)?;
        visit(&PrimaryKey { label: self.label(), max_wrapped_key_len: Some(self.slot_len) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.answer(Method::Wrap)?;
        let mut wrapped: Vec<u8> = data_key.expose().iter().map(|byte| !byte).collect();
        wrapped.resize(self.slot_len, 0);
        slots.push(&self.label(), &wrapped)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        if slot.label.name.as_str() != self.name {
            return Err(KeyringError::NotMine);
        }
        self.answer(Method::Unwrap)?;
        let len = context.suite().data_key_len();
        let mut key: Vec<u8> = slot.wrapped_key[..len].iter().map(|byte| !byte).collect();
        key[0] ^= u8::from(self.careless);
        assert!(data_key.set(&key));
        Ok(())
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.answer(Method::Rewrap)?;
        let mut data_key = DataKey::empty();
        self.unwrap(slot, context, &mut data_key)?;
        self.wrap(&data_key, context, slots, rng)
    }
}

/// Wraps under two keyrings, as a combinator does.
pub struct Both<A, B>(pub A, pub B);

impl<A: Keyring, B: Keyring> Keyring for Both<A, B> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)?;
        self.1.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)?;
        self.1.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        match self.0.unwrap(slot, context, data_key) {
            Err(KeyringError::NotMine) => self.1.unwrap(slot, context, data_key),
            answer => answer,
        }
    }
}
