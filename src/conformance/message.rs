//! The parts of a message that a keyring sees: an immutable core, a data key, and slots.

use super::TestRng;
use crate::crypto::compare;
use crate::crypto::secret::DataKey;
use crate::format::{
    DataKeyId, ImmutableCore, KeyName, KeyVersion, MAX_HEADER_LEN, MasterKeyId, Slot, SlotLabel,
    Suite, WrapAlgorithm,
};
use crate::keyring::{Keyring, KeyringError, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use rand_core::TryRng;

/// A message without a body. It calls the methods of a keyring one by one, as the core does.
pub struct TestMessage {
    core: ImmutableCore,
    data_key: DataKey,
}

impl TestMessage {
    /// Returns a message of `suite` with a data key from `rng`.
    ///
    /// # Panics
    ///
    /// If `rng` fails.
    pub fn new(suite: Suite, rng: &mut TestRng) -> Self {
        let mut data_key = DataKey::empty();
        let space = data_key.space(suite.data_key_len()).expect("every suite's key fits");
        rng.try_fill_bytes(space).expect("the generator works");
        let mut random = [0; 8];
        rng.try_fill_bytes(&mut random).expect("the generator works");
        let core = ImmutableCore::generate(suite, random, &data_key);
        TestMessage { core: core.expect("the key has the suite's length"), data_key }
    }

    /// Returns a message of another suite or data key id with the same data key, which does not belong to it.
    #[must_use]
    pub fn misplaced(&self, suite: Suite, id: DataKeyId) -> Self {
        let mut data_key = DataKey::empty();
        assert!(data_key.set(self.data_key.expose()), "a data key fits");
        TestMessage { core: ImmutableCore::from_parts(suite, id), data_key }
    }

    /// Returns the context that a wrap is bound to.
    pub fn context(&self) -> WrapContext<'_> {
        WrapContext::new(&self.core)
    }

    /// Returns the data key.
    pub fn data_key(&self) -> &DataKey {
        &self.data_key
    }

    /// Returns whether `key` is the data key.
    pub fn is_data_key(&self, key: &DataKey) -> bool {
        compare::equal(key.expose(), self.data_key.expose())
    }

    /// Calls [`Keyring::wrap`]. Returns its result and every slot that it pushed, also before a failure.
    pub fn wrap<K: Keyring + ?Sized>(
        &self,
        keyring: &K,
        rng: &mut KeyringRng<'_>,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        self.write(MAX_HEADER_LEN, |slots| {
            keyring.wrap(&self.data_key, &self.context(), slots, rng)
        })
    }

    /// Calls [`Keyring::wrap_under`] for the master key `name`. Returns its result and every slot that it
    /// pushed.
    pub fn wrap_under<K: Keyring + ?Sized>(
        &self,
        keyring: &K,
        name: KeyName<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        self.write(MAX_HEADER_LEN, |slots| {
            keyring.wrap_under(name, &self.data_key, &self.context(), slots, rng)
        })
    }

    /// Calls [`Keyring::wrap`] with `room` bytes for the slots. Returns its result and every slot that it
    /// pushed.
    pub fn wrap_into<K: Keyring + ?Sized>(
        &self,
        keyring: &K,
        rng: &mut KeyringRng<'_>,
        room: usize,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        self.write(room, |slots| keyring.wrap(&self.data_key, &self.context(), slots, rng))
    }

    /// Calls [`Keyring::rewrap`]. Returns its result and every slot that it pushed.
    pub fn rewrap<K: Keyring + ?Sized>(
        &self,
        keyring: &K,
        slot: &TestSlot,
        rng: &mut KeyringRng<'_>,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        self.write(MAX_HEADER_LEN, |slots| {
            keyring.rewrap(&slot.slot(), &self.context(), slots, rng)
        })
    }

    /// Calls [`Keyring::unwrap`], over the key in `data_key`.
    ///
    /// # Errors
    ///
    /// The [`KeyringError`] of the keyring.
    pub fn unwrap_over<K: Keyring + ?Sized>(
        &self,
        keyring: &K,
        slot: &TestSlot,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        keyring.unwrap(&slot.slot(), &self.context(), data_key)
    }

    fn write(
        &self,
        room: usize,
        write: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        let mut room = vec![0; room];
        let mut slots = SlotWriter::new(&mut room, self.core.suite(), None);
        let result = write(&mut slots);
        (result, slots.slots().map(TestSlot::from).collect())
    }
}

impl fmt::Debug for TestMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestMessage").field("context", &self.context()).finish_non_exhaustive()
    }
}

/// A slot that a test can change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of format version 1 are settled")]
pub struct TestSlot {
    /// Name of the master key. It must be valid when the slot is used.
    pub name: String,
    /// Version of the master key.
    pub version: KeyVersion,
    /// Id of the master key's material.
    pub master_key_id: MasterKeyId,
    /// The wrap algorithm.
    pub algorithm: WrapAlgorithm,
    /// The wrapped key.
    pub wrapped_key: Vec<u8>,
}

impl TestSlot {
    /// Returns the slot with this label and this wrapped key.
    pub fn new(label: &SlotLabel<'_>, wrapped_key: &[u8]) -> Self {
        TestSlot {
            name: label.name.as_str().to_owned(),
            version: label.version,
            master_key_id: label.master_key_id,
            algorithm: label.algorithm,
            wrapped_key: wrapped_key.to_vec(),
        }
    }

    /// Returns its label.
    ///
    /// # Panics
    ///
    /// If the name is invalid.
    pub fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::new(&self.name).expect("a test changes a name to a valid one"),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }

    /// Returns the slot as a keyring gets it.
    ///
    /// # Panics
    ///
    /// If the name is invalid.
    pub fn slot(&self) -> Slot<'_> {
        Slot { label: self.label(), wrapped_key: &self.wrapped_key }
    }
}

impl From<Slot<'_>> for TestSlot {
    fn from(slot: Slot<'_>) -> Self {
        TestSlot::new(&slot.label, slot.wrapped_key)
    }
}
