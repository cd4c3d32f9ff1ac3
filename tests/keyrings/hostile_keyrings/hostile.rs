//! An honest keyring of which every method can be made to misbehave.

use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, DataKey, Envelope, Keyring, MemoryKeyring, SlotLabel, Suite,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub type Answer = Result<(), KeyringError>;
pub type Wrap = dyn Fn(
        &MemoryKeyring,
        &DataKey,
        &WrapContext<'_>,
        &mut SlotWriter<'_>,
        &mut KeyringRng<'_>,
    ) -> Answer
    + Send
    + Sync;
pub type Unwrap =
    dyn Fn(&MemoryKeyring, &Slot<'_>, &WrapContext<'_>, &mut DataKey) -> Answer + Send + Sync;
pub type Rewrap = dyn Fn(
        &MemoryKeyring,
        &Slot<'_>,
        &WrapContext<'_>,
        &mut SlotWriter<'_>,
        &mut KeyringRng<'_>,
    ) -> Answer
    + Send
    + Sync;
pub type Fresh =
    dyn Fn(&MemoryKeyring, &SlotLabel<'_>) -> Result<Freshness, KeyringError> + Send + Sync;
pub type Primary = dyn Fn(&MemoryKeyring, &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer + Send + Sync;

/// An honest keyring of which each method can be replaced, and which counts the calls it gets.
pub struct Hostile {
    pub honest: MemoryKeyring,
    pub primary: Option<Box<Primary>>,
    pub wrap: Option<Box<Wrap>>,
    pub unwrap: Option<Box<Unwrap>>,
    pub rewrap: Option<Box<Rewrap>>,
    pub freshness: Option<Box<Fresh>>,
    wraps: AtomicUsize,
    unwraps: AtomicUsize,
}

impl Hostile {
    pub fn new(honest: MemoryKeyring) -> Self {
        let (wraps, unwraps) = Default::default();
        let (primary, wrap, unwrap, rewrap, freshness) = Default::default();
        Hostile { honest, primary, wrap, unwrap, rewrap, freshness, wraps, unwraps }
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.wraps.swap(0, Relaxed), self.unwraps.swap(0, Relaxed))
    }
}

impl Keyring for Hostile {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        match &self.primary {
            Some(primary) => primary(&self.honest, visit),
            None => self.honest.visit_primaries(visit),
        }
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        self.wraps.fetch_add(1, Relaxed);
        match &self.wrap {
            Some(wrap) => wrap(&self.honest, data_key, context, slots, rng),
            None => self.honest.wrap(data_key, context, slots, rng),
        }
    }

    fn unwrap(&self, slot: &Slot<'_>, context: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        self.unwraps.fetch_add(1, Relaxed);
        match &self.unwrap {
            Some(unwrap) => unwrap(&self.honest, slot, context, data_key),
            None => self.honest.unwrap(slot, context, data_key),
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        if let Some(rewrap) = &self.rewrap {
            return rewrap(&self.honest, slot, context, slots, rng);
        }
        // As the provided method.
        let mut data_key = DataKey::empty();
        self.unwrap(slot, context, &mut data_key)?;
        context.verify(&data_key)?;
        self.wrap(&data_key, context, slots, rng)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        match &self.freshness {
            Some(freshness) => freshness(&self.honest, slot),
            None => self.honest.freshness(slot),
        }
    }
}

pub fn seeded(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A message under version 1 of a keyring whose primary is version 2.
pub fn stale(suite: Suite) -> (Hostile, Vec<u8>) {
    let mut rng = seeded(1);
    let honest =
        MemoryKeyring::create_with_rng("orders", envelock::Timestamp::UNIX_EPOCH, &mut rng)
            .unwrap();
    let envelope = Envelope::new(&honest).with_suite(suite);
    let message = envelope.with_rng(&mut rng).encrypt(b"payload", Aad::new(b"row")).unwrap();
    honest.rotate_with_rng(envelock::Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    (Hostile::new(honest), message)
}

/// `stale` with one more slot behind the first, of the primary's key under another algorithm.
pub fn with_opaque_twin_of_the_primary() -> (Hostile, Vec<u8>) {
    let (keyring, message) = stale(Suite::Cobblestone256);
    let header_len = inspect(&message).unwrap().len();
    let mut twin = Vec::new();
    let label = |primary: &PrimaryKey<'_>| {
        twin.extend_from_slice(&primary.label.version.number().to_be_bytes());
        twin.extend_from_slice(&primary.label.master_key_id.0);
    };
    keyring.honest.visit_primaries(&mut { label }).unwrap();
    twin.extend_from_slice(&[200, 6, 0, 1]);
    twin.extend_from_slice(b"orders!");
    let mut crafted = [&message[..header_len], &twin[..], &message[header_len..]].concat();
    let len = u16::try_from(header_len + twin.len()).unwrap();
    crafted[22..24].copy_from_slice(&len.to_be_bytes());
    crafted[24] = 2;
    (keyring, crafted)
}
