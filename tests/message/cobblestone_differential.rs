//! An independent implementation of suites 1 and 2 opens our bodies and we open its: crate
//! `cobblestone`, sizes around every boundary, random contexts.
//!
//! SPEC B-KDF, B-CONTEXT, B-NONCE, B-NOAAD, B-COMMIT, B-LAST: each of them, broken, parts us.

use cobblestone::{CobblestoneKey, Key, Key256};
use envelock::danger;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Aad, DataKey, Envelope, Keyring, MemoryKeyring, SlotLabel, Suite,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use std::sync::Mutex;

fn sizes() -> impl Iterator<Item = usize> {
    (0..=70).chain([16_383, 16_384, 16_385, 32_768, 49_152, (1 << 20) + 7])
}

fn random(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn random_len(rng: &mut ChaCha20Rng, below: u32) -> usize {
    (rng.next_u32() % below) as usize
}

/// Both directions of one suite; returns how many bodies each side opened.
fn exchange<K: CobblestoneKey>(suite: Suite, seed: u8, key_of: impl Fn(&[u8]) -> K) -> usize {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut opened = 0;
    for size in sizes() {
        let input_key = random(&mut rng, suite.data_key_len());
        let theirs = key_of(&input_key);
        let context_len = random_len(&mut rng, 200);
        let context = random(&mut rng, context_len);
        let plaintext = random(&mut rng, size);
        let mut salt = [0; 24];
        rng.fill_bytes(&mut salt);

        let body = danger::encrypt_body(suite, &input_key, &salt, &context, &plaintext).unwrap();
        let decrypted = cobblestone::decrypt(&theirs, &context, &body);
        assert!(decrypted.is_ok_and(|it| it == plaintext), "{suite}, seed {seed}, {size} bytes");

        let body = cobblestone::encrypt(&theirs, &context, &plaintext).unwrap();
        let decrypted = danger::decrypt_body(suite, &input_key, &context, &body);
        assert!(decrypted.is_ok_and(|it| it == plaintext), "{suite}, seed {seed}, {size} bytes");

        // SPEC B-CONTEXT: neither side opens a body under another context.
        let other = [&context[..], &[0]].concat();
        assert!(danger::decrypt_body(suite, &input_key, &other, &body).is_err());
        opened += 1;
    }
    opened
}

#[test]
fn cobblestone_256_bodies_are_exchanged_both_ways() {
    let key_of = |bytes: &[u8]| Key256::from_bytes(bytes.try_into().unwrap());
    assert_eq!(exchange(Suite::Cobblestone256, 1, key_of), 77);
}

#[test]
fn cobblestone_128_bodies_are_exchanged_both_ways() {
    let key_of = |bytes: &[u8]| Key::from_bytes(bytes.try_into().unwrap());
    assert_eq!(exchange(Suite::Cobblestone128, 2, key_of), 77);
}

/// Keeps the data key of the last wrap, so that the second implementation can use it.
struct Watched {
    keyring: MemoryKeyring,
    data_key: Mutex<Vec<u8>>,
}

impl Keyring for Watched {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        *self.data_key.lock().unwrap() = data_key.expose().to_vec();
        self.keyring.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.keyring.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot)
    }
}

/// SPEC B-CONTEXT: with the data key in hand, `cobblestone` opens the body of a whole message
/// under the context bytes 0..22 of the header, then the associated data.
#[test]
fn body_opens_under_its_core_and_associated_data() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut opened = 0;
    for suite in [Suite::Cobblestone256, Suite::Cobblestone128] {
        let keyring =
            MemoryKeyring::create_with_rng("orders", envelock::Timestamp::UNIX_EPOCH, &mut rng)
                .unwrap();
        let keyring = Watched { keyring, data_key: Mutex::default() };
        let envelope = Envelope::new(&keyring).with_suite(suite).with_reserved(8);
        for size in sizes().filter(|size| *size < 1 << 20) {
            let aad_len = random_len(&mut rng, 100);
            let aad = random(&mut rng, aad_len);
            let plaintext = random(&mut rng, size);
            let message = envelope.with_rng(&mut rng).encrypt(&plaintext, Aad::new(&aad)).unwrap();
            let context = [&message[..22], &aad].concat();
            let body = &message[inspect(&message).unwrap().len()..];
            let key = keyring.data_key.lock().unwrap();
            let decrypted = match suite {
                Suite::Cobblestone256 => {
                    let key = Key256::from_bytes(key[..].try_into().unwrap());
                    cobblestone::decrypt(&key, &context, body)
                }
                _ => {
                    let key = Key::from_bytes(key[..].try_into().unwrap());
                    cobblestone::decrypt(&key, &context, body)
                }
            };
            assert!(decrypted.is_ok_and(|it| it == plaintext), "{suite}, {size} bytes");
            opened += 1;
        }
    }
    assert_eq!(opened, 2 * 76);
}
