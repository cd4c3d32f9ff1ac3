//! Keyrings for tests: in memory from fixed keys, several at once, and one that returns wrong results.

use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, Lifecycle, MasterKey, MasterKeyId, MemoryKeyring,
    SlotLabel,
    format::{Slot, WrapAlgorithm},
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::sync::Mutex;

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// A keyring of `name` with a version for each pair of number and key byte; the last is the
/// primary.
pub fn ring(name: &str, versions: &[(u32, u8)]) -> MemoryKeyring {
    let key = |byte: u8| MasterKey::from_bytes(&[byte; 32]);
    let (first, rest) = versions.split_first().unwrap();
    let ring = MemoryKeyring::import(name, version(first.0), &key(first.1)).unwrap();
    for (number, byte) in rest {
        ring.import_version(version(*number), &key(*byte)).unwrap();
        ring.promote(version(*number)).unwrap();
    }
    ring
}

/// The contents of one slot.
pub enum Member {
    /// A wrap under this keyring's primary.
    Ring(MemoryKeyring),
    /// Bytes that no keyring here reads.
    Opaque { name: String, version: u32, algorithm: u8, wrapped: Vec<u8> },
}

impl Member {
    fn opaque_label(&self) -> Option<(SlotLabel<'_>, &[u8])> {
        let Member::Opaque { name, version: number, algorithm, wrapped } = self else {
            return None;
        };
        let label = SlotLabel {
            name: KeyName::new(name).unwrap(),
            version: version(*number),
            master_key_id: MasterKeyId([0x77; 8]),
            algorithm: WrapAlgorithm::new(*algorithm).unwrap(),
        };
        Some((label, wrapped))
    }
}

/// Wraps for every member, in order; unwraps with the first that knows the slot.
pub struct Several(pub Vec<Member>);

impl Keyring for Several {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        for member in &self.0 {
            match (member, member.opaque_label()) {
                (_, Some((label, wrapped))) => {
                    visit(&PrimaryKey { label, max_wrapped_key_len: Some(wrapped.len()) });
                }
                (Member::Ring(ring), _) => ring.visit_primaries(visit)?,
                _ => unreachable!(),
            }
        }
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        for member in &self.0 {
            match (member, member.opaque_label()) {
                (_, Some((label, wrapped))) => slots.push(&label, wrapped)?,
                (Member::Ring(ring), _) => ring.wrap(data_key, context, slots, rng)?,
                _ => unreachable!(),
            }
        }
        Ok(())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        for member in &self.0 {
            let Member::Ring(ring) = member else { continue };
            match ring.unwrap(slot, context, data_key) {
                Err(KeyringError::NotMine) => {}
                answer => return answer,
            }
        }
        Err(KeyringError::NotMine)
    }
}

/// Wraps like the keyring it holds, and remembers the data keys: no keyring to keep.
pub struct Spy<K> {
    pub ring: K,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl<K> Spy<K> {
    pub fn new(ring: K) -> Self {
        Spy { ring, seen: Mutex::default() }
    }

    /// The last data key that was wrapped.
    pub fn last(&self) -> Vec<u8> {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl<K: Keyring> Keyring for Spy<K> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.ring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.seen.lock().unwrap().push(data_key.expose().to_vec());
        self.ring.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.ring.unwrap(slot, context, data_key)
    }
}

/// A keyring that claims every slot of its own: a refusal of a message that is opened with it comes
/// after the unwrap.
pub struct Convinced(pub MemoryKeyring);

impl Keyring for Convinced {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let answer = self.0.unwrap(slot, context, data_key);
        assert!(matches!(answer, Ok(()) | Err(KeyringError::NotMine)), "{answer:?}");
        answer
    }
}
