//! Valid messages of every suite and shape, the same in every run.

use crate::model::{CORE_LEN, Model, ModelSlot};
use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, DataKey, Envelope, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring,
    RewrapOptions, SlotLabel, Suite,
    format::Slot,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use std::sync::LazyLock;

/// Associated data of every message.
pub const AAD: &[u8] = b"row 7";

/// The name that the reader's keyring holds.
pub const NAME: &str = "orders";

/// A valid message and what is in it.
pub struct Base {
    pub message: Vec<u8>,
    pub plaintext: Vec<u8>,
    pub header: Model,
}

impl Base {
    pub fn body(&self) -> &[u8] {
        &self.message[self.header.len()..]
    }
}

/// The reader: version 2 is the primary, 1 is older, 3 is disabled, 4 is unknown to it.
pub static READER: LazyLock<Envelope<MemoryKeyring>> = LazyLock::new(|| {
    let keyring = versions(NAME, 1, 3);
    keyring.promote(version(2)).expect("there is a version 2");
    keyring.disable(version(3)).expect("it is not the primary");
    Envelope::new(keyring)
});

/// Every message.
pub static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let mut rng = rng(7);
    Suite::ALL.iter().copied().flat_map(|suite| shapes(suite, &mut rng)).collect()
});

/// A message that several threads would share: twenty chunks and a short one.
pub static LONG: LazyLock<Base> = LazyLock::new(|| {
    let envelope = Envelope::new(versions(NAME, 1, 1));
    encrypt(envelope, 20 * 16_384 + 5, &mut rng(8))
});

/// The plaintext of the message that `message` is, or was made of by changes.
pub fn true_plaintext(message: &[u8]) -> Option<&'static [u8]> {
    let core = message.get(..CORE_LEN)?;
    let bases = BASES.iter().chain([&*LONG]);
    bases.filter(|base| base.message[..CORE_LEN] == *core).map(|base| &base.plaintext[..]).next()
}

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).expect("fixtures use no version 0")
}

/// A keyring with fixed versions 1 to `last`; version 1 is the primary.
fn versions(name: &str, material: u8, last: u32) -> MemoryKeyring {
    let key = |number: u32| MasterKey::from_bytes(&[material.wrapping_add(number as u8); 32]);
    let keyring = MemoryKeyring::import(name, version(1), &key(1)).expect("the name is valid");
    for number in 2..=last {
        keyring.import_version(version(number), &key(number)).expect("numbers grow");
    }
    keyring
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + len) as u8).collect()
}

fn encrypt<K: Keyring>(envelope: Envelope<K>, len: usize, rng: &mut ChaCha20Rng) -> Base {
    let plaintext = plaintext(len);
    let message = envelope.with_rng(rng).encrypt(&plaintext, Aad::new(AAD));
    let message = message.expect("fixtures encrypt");
    let header = Model::read(&message).expect("fixtures are valid");
    Base { message, plaintext, header }
}

fn shapes(suite: Suite, rng: &mut ChaCha20Rng) -> Vec<Base> {
    let orders = versions(NAME, 1, 4);
    let escrow = versions("acme/escrow@eu", 100, 1);
    let mut of_version = |number, len, reserved: usize| {
        orders.promote(version(number)).expect("fixtures promote");
        encrypt(Envelope::new(&orders).with_suite(suite).with_reserved(reserved), len, rng)
    };
    let mut bases = vec![
        of_version(2, 0, 0),
        of_version(1, 33, 8),
        of_version(1, 16_384, 0),
        of_version(2, 16_385, 300),
        of_version(3, 5, 0),
        of_version(4, 5, 0),
    ];
    orders.promote(version(1)).expect("fixtures promote");
    bases.push(encrypt(Envelope::new(Both(&escrow, &orders)).with_suite(suite), 40, rng));
    bases.push(encrypt(Envelope::new(&escrow).with_suite(suite), 9, rng));
    let two_versions = two_versions(&bases[1], rng);
    bases.push(two_versions);
    let opaque = opaque(&bases[0]);
    bases.push(opaque);
    bases
}

/// `base` with slots of versions 1 and 2 of one name.
fn two_versions(base: &Base, rng: &mut ChaCha20Rng) -> Base {
    let rewrapped = READER.with_rng(rng).rewrap(&base.message, RewrapOptions::new());
    let rewrapped = Model::read(rewrapped.expect("fixtures rewrap").header());
    let mut header = base.header.clone();
    header.slots.extend(rewrapped.expect("a rewrap is valid").slots);
    with_header(base, header)
}

/// `base` between slots that no keyring here knows.
fn opaque(base: &Base) -> Base {
    let slot = |algorithm, name: &str, len| ModelSlot {
        version: u32::MAX,
        id: [0xAB; 8],
        algorithm,
        name: name.into(),
        wrapped: vec![algorithm; len],
    };
    let mut header = base.header.clone();
    header.slots.insert(0, slot(200, "arn:aws:kms:eu-west-1:1234:key/abc", 184));
    header.slots.push(slot(255, "z", 1));
    with_header(base, header)
}

fn with_header(base: &Base, header: Model) -> Base {
    let message = [&header.write()[..], base.body()].concat();
    Base { message, plaintext: base.plaintext.clone(), header }
}

/// Wraps under two keyrings, in order.
struct Both<'k>(&'k MemoryKeyring, &'k MemoryKeyring);

impl Keyring for Both<'_> {
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
        self.0.unwrap(slot, context, data_key).or_else(|_| self.1.unwrap(slot, context, data_key))
    }

    fn freshness(&self, _: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        Ok(Freshness::NotMine)
    }
}
