//! The operations that must not leak.

use crate::{Entry, blocks, memcheck};
use envelock::danger::{chunk_decryptor, chunk_encryptor, decrypt_body, encrypt_body};
use envelock::format::layout;
use envelock::rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use envelock::{
    Aad, DataKey, Envelope, Error, GrantOptions, KeyVersion, Keyring, Lifecycle, MasterKey,
    MemoryKeyring, RewrapOptions, Suite, danger,
    format::Slot,
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use std::convert::Infallible;

const SALT: [u8; layout::SALT_LEN] = [9; layout::SALT_LEN];
const CONTEXT: &[u8] = b"twenty-two bytes core and associated data";
const AAD: Aad<'static> = Aad::new(b"records/42");

/// Whether a result is a success, once it is declassified.
fn succeeded<T, E>(result: Result<T, E>) -> bool {
    let ok = result.is_ok();
    memcheck::public(&ok);
    std::mem::forget(result);
    ok
}

fn key_of(suite: Suite) -> Vec<u8> {
    let mut key = vec![0; suite.data_key_len()];
    ChaCha20Rng::from_seed([41; 32]).fill_bytes(&mut key);
    key
}

fn secret_key_of(suite: Suite) -> Vec<u8> {
    let mut key = key_of(suite);
    memcheck::secret(&mut key);
    key
}

fn plaintext() -> Vec<u8> {
    (0..1000_u32).map(|index| index as u8).collect()
}

/// Returns a seeded stream whose first bytes, the data key, are secret.
struct SecretRng {
    inner: ChaCha20Rng,
    secret_len: usize,
}

impl TryRng for SecretRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.inner.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.inner.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.inner.fill_bytes(out);
        let secret_len = self.secret_len.min(out.len());
        memcheck::secret(&mut out[..secret_len]);
        Ok(())
    }
}

impl TryCryptoRng for SecretRng {}

/// A keyring of a secret key schedule; its master key id is public.
fn secret_keyring() -> MemoryKeyring {
    let key = MasterKey::from_bytes(&[0x5C; 32]);
    let make = || MemoryKeyring::import("orders", KeyVersion::FIRST, &key);
    let (keyring, address, len) = blocks::key_schedule_of(make);
    memcheck::secret_block(address, len);
    keyring.unwrap()
}

/// The same keyring with nothing secret, to prepare messages with.
fn public_keyring() -> MemoryKeyring {
    let key = MasterKey::from_bytes(&[0x5C; 32]);
    MemoryKeyring::import("orders", KeyVersion::FIRST, &key).unwrap()
}

fn message(suite: Suite) -> Vec<u8> {
    let keyring = public_keyring();
    let envelope = Envelope::new(&keyring).with_suite(suite);
    let mut rng = ChaCha20Rng::from_seed([43; 32]);
    envelope.with_rng(&mut rng).encrypt(&plaintext(), AAD).unwrap()
}

/// Fills in a secret data key without any unwrap, right or wrong.
struct Handing {
    inner: MemoryKeyring,
    wrong: bool,
}

impl Keyring for Handing {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.inner.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.inner.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.inner.unwrap(slot, context, data_key)?;
        let mut key = data_key.expose().to_vec();
        key[3] ^= u8::from(self.wrong);
        memcheck::secret(&mut key);
        assert!(data_key.set(&key));
        Ok(())
    }
}

/// One entry point, for every suite.
type Operation = fn(Suite);

pub fn all() -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut add = |name: String, run: Box<dyn Fn()>| entries.push(Entry { name, run });
    for &suite in Suite::ALL {
        let operations: [(&str, Operation); 16] = [
            ("key derivation and chunk encryption", encrypt_a_body),
            ("commitment and chunks, right key", open_a_body),
            ("commitment, wrong key", open_a_body_with_another_key),
            ("chunk tag, forged", open_a_forged_chunk),
            ("chunk, in place", encrypt_a_chunk_in_place),
            ("encrypt: data key, check and wrap", encrypt_a_message),
            ("decrypt: unwrap, check and body", decrypt_a_message),
            ("decrypt: unwrap fails", decrypt_a_message_of_a_changed_slot),
            ("decrypt: body fails", decrypt_a_changed_body),
            ("opened key: body, wrap, proof", use_an_opened_key),
            ("rewrap: unwrap, check, wrap, proof", rewrap_a_message),
            ("add_slot: unwrap, check, wrap, proof", add_a_slot),
            ("examine: unwrap and check", examine_a_message),
            ("data key check, right key", decrypt_by_a_handed_key),
            ("data key check, wrong key", refuse_a_handed_key),
            ("HKDF-Expand", expand),
        ];
        for (name, operation) in operations {
            add(format!("{suite}: {name}"), Box::new(move || operation(suite)));
        }
    }
    add("master key: zero check, id, key schedule".into(), Box::new(|| import(1)));
    add("master key: all zero".into(), Box::new(|| import(0)));
    entries
}

fn encrypt_a_body(suite: Suite) {
    let key = secret_key_of(suite);
    let mut plaintext = plaintext();
    memcheck::secret(&mut plaintext);
    let body = encrypt_body(suite, &key, &SALT, CONTEXT, &plaintext);
    assert!(succeeded(body));
}

/// A body made without secrets.
fn body(suite: Suite) -> Vec<u8> {
    encrypt_body(suite, &key_of(suite), &SALT, CONTEXT, &plaintext()).unwrap()
}

fn open_a_body(suite: Suite) {
    let body = body(suite);
    assert!(succeeded(decrypt_body(suite, &secret_key_of(suite), CONTEXT, &body)));
}

fn open_a_body_with_another_key(suite: Suite) {
    let body = body(suite);
    let mut key = key_of(suite);
    key[15] ^= 0x80;
    memcheck::secret(&mut key);
    assert!(!succeeded(decrypt_body(suite, &key, CONTEXT, &body)));
}

fn open_a_forged_chunk(suite: Suite) {
    let mut body = body(suite);
    let last = body.len() - 1;
    body[last] ^= 1;
    assert!(!succeeded(decrypt_body(suite, &secret_key_of(suite), CONTEXT, &body)));
}

fn encrypt_a_chunk_in_place(suite: Suite) {
    let encryptor = chunk_encryptor(suite, &secret_key_of(suite), &SALT, CONTEXT).unwrap();
    let mut chunk = plaintext();
    memcheck::secret(&mut chunk);
    let tag = encryptor.encrypt_in_place(5, &mut chunk).unwrap();
    // The prefix is written to the message, and so are chunk and tag.
    memcheck::public(encryptor.prefix());
    memcheck::public(chunk.as_slice());
    memcheck::public(&tag);
    let prefix = *encryptor.prefix();
    let decryptor = chunk_decryptor(suite, &secret_key_of(suite), &prefix, CONTEXT).unwrap();
    chunk.extend(tag);
    assert!(succeeded(decryptor.decrypt_in_place(5, &mut chunk)));
    chunk.truncate(1016);
    assert!(!succeeded(decryptor.decrypt_in_place(6, &mut chunk)));
}

fn encrypt_a_message(suite: Suite) {
    let keyring = secret_keyring();
    let envelope = Envelope::new(&keyring).with_suite(suite);
    let inner = ChaCha20Rng::from_seed([44; 32]);
    let mut rng = SecretRng { inner, secret_len: suite.data_key_len() };
    let mut plaintext = plaintext();
    memcheck::secret(&mut plaintext);
    let message = envelope.with_rng(&mut rng).encrypt(&plaintext, AAD).unwrap();
    memcheck::public(message.as_slice());
    assert!(succeeded(Envelope::new(public_keyring()).decrypt(&message, AAD)));
}

fn decrypt_a_message(suite: Suite) {
    let message = message(suite);
    assert!(succeeded(Envelope::new(secret_keyring()).decrypt(&message, AAD)));
}

fn decrypt_a_message_of_a_changed_slot(suite: Suite) {
    let mut message = message(suite);
    message[100] ^= 4;
    assert!(!succeeded(Envelope::new(secret_keyring()).decrypt(&message, AAD)));
}

fn decrypt_a_changed_body(suite: Suite) {
    let mut message = message(suite);
    let last = message.len() - 20;
    message[last] ^= 4;
    assert!(!succeeded(Envelope::new(secret_keyring()).decrypt_in_place(&mut message, AAD)));
}

fn rewrap_a_message(suite: Suite) {
    let mut message = message(suite);
    rewrap_with(&secret_keyring(), &mut message, RewrapOptions::new());
}

fn use_an_opened_key(suite: Suite) {
    let mut message = message(suite);
    let keyring = secret_keyring();
    let key = Envelope::new(&keyring).open(&message).unwrap();
    assert!(succeeded(key.decrypt(key.body(&message).unwrap(), AAD)));
    rewrap_with(&keyring, &mut message, RewrapOptions::new().opened(&key));
}

fn rewrap_with(keyring: &MemoryKeyring, message: &mut [u8], options: RewrapOptions<'_>) {
    let second = MasterKey::from_bytes(&[0x3A; 32]);
    let version = KeyVersion::new(2).unwrap();
    let add = || keyring.import_version(version, &second);
    let (added, address, len) = blocks::key_schedule_of(add);
    memcheck::secret_block(address, len);
    added.and_then(|_| keyring.promote(version)).unwrap();
    let envelope = Envelope::new(keyring);
    let mut rng = ChaCha20Rng::from_seed([45; 32]);
    let envelope = envelope.with_rng(&mut rng);
    let rewrapped = envelope.rewrap(message, options).and_then(|new| new.write_over(message));
    assert!(succeeded(rewrapped));
    memcheck::public(&*message);
}

fn add_a_slot(suite: Suite) {
    let keyring = public_keyring();
    let envelope = Envelope::new(&keyring).with_suite(suite).with_reserved(200);
    let mut rng = ChaCha20Rng::from_seed([46; 32]);
    let mut message = envelope.with_rng(&mut rng).encrypt(&plaintext(), AAD).unwrap();
    let escrow = MasterKey::from_bytes(&[0x3A; 32]);
    let make = || MemoryKeyring::import("escrow", KeyVersion::FIRST, &escrow);
    let (escrow, address, len) = blocks::key_schedule_of(make);
    memcheck::secret_block(address, len);
    let escrow = escrow.unwrap();
    let envelope = Envelope::new(secret_keyring());
    let envelope = envelope.with_rng(&mut rng);
    let added = envelope.add_slot(&message, &escrow, GrantOptions::new());
    assert!(succeeded(added.and_then(|new| new.write_over(&mut message))));
    memcheck::public(message.as_slice());
}

fn examine_a_message(suite: Suite) {
    let mut message = message(suite);
    let envelope = Envelope::new(secret_keyring());
    assert!(envelope.examine(&message).unwrap().slots().all(|(_, finding)| finding.is_opened()));
    message[100] ^= 4;
    assert!(envelope.examine(&message).unwrap().slots().all(|(_, finding)| !finding.is_opened()));
}

fn decrypt_by_a_handed_key(suite: Suite) {
    let handing = Handing { inner: public_keyring(), wrong: false };
    assert!(succeeded(Envelope::new(handing).decrypt(&message(suite), AAD)));
}

fn refuse_a_handed_key(suite: Suite) {
    let handing = Handing { inner: public_keyring(), wrong: true };
    let opened: Result<_, Error> = Envelope::new(handing).decrypt(&message(suite), AAD);
    assert!(!succeeded(opened));
}

fn expand(suite: Suite) {
    let mut key = [3; 32];
    memcheck::secret(&mut key);
    let mut okm = [0; 200];
    danger::hkdf_expand(suite, &key, CONTEXT, &mut okm).unwrap();
    memcheck::public(&okm);
}

fn import(fill: u8) {
    let mut bytes = [fill; 32];
    memcheck::secret(&mut bytes);
    let key = MasterKey::from_bytes(&bytes);
    let keyring = MemoryKeyring::import("orders", KeyVersion::FIRST, &key);
    assert_eq!(succeeded(keyring), fill != 0);
}
