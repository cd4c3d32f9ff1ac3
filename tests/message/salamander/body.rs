//! A body that decrypts under two data keys, behind a header that wraps both.

use crate::common::detached::WriteDetached;
use crate::common::entry::{assert_opens, try_all};
use crate::common::kdf::{BodyKeys, body_keys};
use crate::common::model::Answer;
use crate::common::rings::{Convinced, Member, Several, ring};
use crate::common::rng;
use crate::salamander::ciphers;
use crate::salamander::gcm::{self, Gcm};
use crate::salamander::poly1305::{self, ChaCha};
use envelock::{
    Aad, DataKey, Envelope, Keyring, MemoryKeyring, Suite, danger,
    format::Slot,
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::sync::Mutex;

const AAD: &[u8] = b"contract 7";
const SALT: [u8; 24] = [0x42; 24];
const FOR_ALICE: &[u8; 16] = b"pay alice 1 coin";
const FOR_BOB: &[u8; 16] = b"pay bob 99 coins";

fn alice() -> MemoryKeyring {
    ring("alice", &[(1, 0xA1)])
}

fn bob() -> MemoryKeyring {
    ring("bob", &[(1, 0xB0)])
}

/// A sender who wraps the message's data key for alice and another one for bob.
struct Forger {
    bobs_key: Vec<u8>,
    bob_first: bool,
    alices_key: Mutex<Vec<u8>>,
}

impl Keyring for Forger {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        alice().visit_primaries(visit)?;
        bob().visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        *self.alices_key.lock().unwrap() = data_key.expose().to_vec();
        let mut planted = DataKey::empty();
        assert!(planted.set(&self.bobs_key));
        if self.bob_first {
            bob().wrap(&planted, context, slots, rng)?;
        }
        alice().wrap(data_key, context, slots, rng)?;
        if !self.bob_first {
            bob().wrap(&planted, context, slots, rng)?;
        }
        Ok(())
    }

    fn unwrap(
        &self,
        _: &Slot<'_>,
        _: &WrapContext<'_>,
        _: &mut DataKey,
    ) -> Result<(), KeyringError> {
        Err(KeyringError::NotMine)
    }
}

/// A careless keyring that hands out one data key whatever it is asked.
struct Always(Vec<u8>);

impl Keyring for Always {
    fn visit_primaries(&self, _: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        Err(KeyringError::NoPrimary)
    }

    fn wrap(
        &self,
        _: &DataKey,
        _: &WrapContext<'_>,
        _: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        Err(KeyringError::NoPrimary)
    }

    fn unwrap(
        &self,
        _: &Slot<'_>,
        _: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        assert!(data_key.set(&self.0));
        Ok(())
    }
}

struct Salamander {
    suite: Suite,
    header: Vec<u8>,
    /// Alice's and bob's.
    data_keys: [Vec<u8>; 2],
    keys: [BodyKeys; 2],
    /// Chunk 0 and its tag: opens under both.
    chunk: Vec<u8>,
}

impl Salamander {
    fn build(suite: Suite, bob_first: bool) -> Self {
        let bobs_key = vec![0xB7; suite.data_key_len()];
        let forger = Forger { bobs_key: bobs_key.clone(), bob_first, alices_key: Mutex::default() };
        let writer = Envelope::new(forger).with_suite(suite);
        let (header, _) = writer.with_rng(&mut rng(6)).encrypt_detached(b"", Aad::none()).unwrap();
        let alices_key = writer.keyring().alices_key.lock().unwrap().clone();
        let data_keys = [alices_key, bobs_key];
        let context = [&header[..22], AAD].concat();
        let keys = data_keys.each_ref().map(|key| body_keys(suite, key, &SALT, &context));
        let chunk = solve(suite, [&keys[0], &keys[1]]);
        Salamander { suite, header, data_keys, keys, chunk }
    }

    /// The message with the commitment to the data key of `owner`: 0 alice, 1 bob.
    fn message(&self, owner: usize) -> Vec<u8> {
        [&self.header[..], &SALT, &self.keys[owner].commitment, &self.chunk].concat()
    }

    /// The output of the bare cipher for the chunk under each key.
    fn plaintexts(&self) -> [Vec<u8>; 2] {
        self.keys.each_ref().map(|keys| {
            ciphers::open(self.suite, &keys.key, &keys.nonce, &self.chunk).expect("opens")
        })
    }

    /// Refused without a try of any chunk: a form in place would have wiped its input.
    fn refused<K: Keyring>(&self, keyring: K, owner: usize) {
        let message = self.message(owner);
        let tried = try_all(&Envelope::new(keyring), &message, self.header.len(), AAD);
        assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
    }

    fn opened<K: Keyring>(&self, keyring: K, owner: usize, plaintext: &[u8]) {
        assert_opens(&Envelope::new(keyring), &self.message(owner), AAD, plaintext);
    }
}

/// A chunk whose first block is meant for alice, whose second is meant for bob, and whose last
/// make the tags equal.
fn solve(suite: Suite, keys: [&BodyKeys; 2]) -> Vec<u8> {
    if suite == Suite::ChunkedChaCha20Poly1305 {
        let [a, b] = keys.map(|keys| ChaCha::new(&keys.key, keys.nonce));
        let mask = |text: &[u8; 16], stream: &[u8]| -> [u8; 16] {
            std::array::from_fn(|index| text[index] ^ stream[index])
        };
        let first = mask(FOR_ALICE, &a.block(1)[..16]);
        let second = mask(FOR_BOB, &b.block(1)[16..32]);
        return poly1305::salamander([&a, &b], &[first, second, [0; 16], [0; 16]]);
    }
    let [a, b] = keys.map(|keys| Gcm::new(&keys.key, keys.nonce));
    let first = u128::from_be_bytes(*FOR_ALICE) ^ a.key_stream(0);
    let second = u128::from_be_bytes(*FOR_BOB) ^ b.key_stream(1);
    gcm::salamander([&a, &b], &[], &[first, second, 0], 2)
}

/// The bare ciphers take it under both keys, and read what its maker wants each to read.
#[test]
fn bare_ciphers_open_one_ciphertext_under_two_keys() {
    for &suite in Suite::ALL {
        let salamander = Salamander::build(suite, false);
        let [for_alice, for_bob] = salamander.plaintexts();
        assert_eq!(for_alice[..16], *FOR_ALICE);
        assert_eq!(for_bob[16..32], *FOR_BOB);
        assert_ne!(for_alice, for_bob);
        let mut changed = salamander.chunk.clone();
        changed[0] ^= 1;
        let keys = &salamander.keys[0];
        assert_eq!(ciphers::open(suite, &keys.key, &keys.nonce, &changed), None);
    }
}

/// SPEC B-COMMIT
#[test]
fn chunk_layer_opens_it_under_the_committed_key_only() {
    for &suite in Suite::ALL {
        let salamander = Salamander::build(suite, false);
        let context = [&salamander.header[..22], AAD].concat();
        let plaintexts = salamander.plaintexts();
        for owner in [0, 1] {
            let body = &salamander.message(owner)[salamander.header.len()..];
            let prefix = body.first_chunk().unwrap();
            let keys = &salamander.data_keys;
            let mine = danger::chunk_decryptor(suite, &keys[owner], prefix, &context).unwrap();
            let mut chunk = salamander.chunk.clone();
            assert_eq!(mine.decrypt_in_place(0, &mut chunk).unwrap(), plaintexts[owner]);
            let other = danger::chunk_decryptor(suite, &keys[1 - owner], prefix, &context);
            assert_eq!(Answer::of(&other), Answer::Authentication);
            let other = danger::decrypt_body(suite, &keys[1 - owner], &context, body);
            assert_eq!(Answer::of(&other), Answer::Authentication);
        }
    }
}

/// SPEC K-CHECK, B-COMMIT: the header names one data key, and the body is committed to one.
#[test]
fn two_readers_never_read_two_texts_from_one_message() {
    let both = || Several(vec![Member::Ring(alice()), Member::Ring(bob())]);
    for &suite in Suite::ALL {
        for bob_first in [false, true] {
            let salamander = Salamander::build(suite, bob_first);
            let [for_alice, _] = salamander.plaintexts();
            // Committed to alice's key, which the header names: hers alone.
            salamander.opened(alice(), 0, &for_alice);
            salamander.refused(Convinced(bob()), 0);
            // SPEC O-ORDER: bob's slot fails its check, wherever it stands, and alice's opens.
            salamander.opened(both(), 0, &for_alice);
            // Committed to bob's key, which the header does not name: it opens under none.
            salamander.refused(Convinced(alice()), 1);
            salamander.refused(Convinced(bob()), 1);
            // SPEC O-FINAL: alice's slot passes its check and ends the search.
            salamander.refused(both(), 1);
        }
    }
}

/// SPEC K-CHECK: whatever keyring answered.
#[test]
fn keyring_with_wrong_data_key_is_detected() {
    for &suite in Suite::ALL {
        let salamander = Salamander::build(suite, false);
        for owner in [0, 1] {
            let [alices_key, bobs_key] = salamander.data_keys.clone();
            salamander.refused(Always(bobs_key.clone()), owner);
            if owner == 1 {
                salamander.refused(Always(alices_key), owner);
            }
            // Nor one of another length.
            salamander.refused(Always(bobs_key[1..].to_vec()), owner);
            salamander.refused(Always(Vec::new()), owner);
        }
    }
}
