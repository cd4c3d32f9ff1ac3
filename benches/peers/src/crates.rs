//! The crates, each under a local master key.

use envelock::{Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring, RewrapOptions, Suite};
use envelopers::{Aes256Gcm, EncryptedRecord, EnvelopeCipher, SimpleKeyProvider};
use kms_aead::ring_encryption::RingAeadEncryption;
use kms_aead::{
    CipherTextWithEncryptedKey, DataEncryptionKey, EncryptedDataEncryptionKey,
    KmsAeadEnvelopeEncryption, KmsAeadResult, KmsAeadRingEncryptionProvider,
    KmsAeadRingEnvelopeEncryption,
};
use pollster::block_on;
use ring::aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use secret_vault_value::SecretValue;
use std::sync::Arc;
use tink_aead::KmsEnvelopeAead;
use tink_core::Aead;
use tink_core::keyset::Handle;

const AAD: &str = "invoices/2026/0042";

/// A crate, as operations on what a program would store.
pub trait Peer {
    fn name(&self) -> &'static str;

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8>;

    fn decrypt(&self, message: &[u8]) -> Vec<u8>;

    /// Encrypts under a master key that a rewrap replaces.
    fn encrypt_stale(&self, plaintext: &[u8]) -> Vec<u8> {
        self.encrypt(plaintext)
    }

    /// Brings a stored message under the newest master key: by a decryption and an encryption, where the
    /// crate has nothing better.
    fn rewrap(&self, message: &mut Vec<u8>) {
        *message = self.encrypt(&self.decrypt(message));
    }
}

pub fn peers() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(Envelock::new("envelock, suite 1", Suite::Cobblestone256)),
        Box::new(Envelock::new("envelock, suite 4", Suite::ChunkedAes256GcmSha256)),
        Box::new(KmsAead::new()),
        Box::new(Envelopers(EnvelopeCipher::init(SimpleKeyProvider::init([9; 16])))),
        Box::new(tink()),
    ]
}

struct Envelock {
    name: &'static str,
    envelope: Envelope<Arc<MemoryKeyring>>,
    keyring: Arc<MemoryKeyring>,
    old: KeyVersion,
    new: KeyVersion,
}

impl Envelock {
    fn new(name: &'static str, suite: Suite) -> Self {
        let keyring = Arc::new(MemoryKeyring::create("invoices").expect("a name of 8 bytes"));
        let old = KeyVersion::FIRST;
        let new = keyring.rotate().expect("OS randomness");
        let envelope = Envelope::new(keyring.clone()).with_suite(suite);
        Envelock { name, envelope, keyring, old, new }
    }
}

impl Peer for Envelock {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        self.envelope.encrypt(plaintext, Aad::new(AAD.as_bytes())).expect("a primary")
    }

    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        self.envelope.decrypt(message, Aad::new(AAD.as_bytes())).expect("own")
    }

    fn encrypt_stale(&self, plaintext: &[u8]) -> Vec<u8> {
        self.keyring.promote(self.old).expect("enabled");
        let message = self.encrypt(plaintext);
        self.keyring.promote(self.new).expect("enabled");
        message
    }

    fn rewrap(&self, message: &mut Vec<u8>) {
        let rewrapped = self.envelope.rewrap(message, RewrapOptions::new()).expect("own");
        assert!(rewrapped.is_changed());
        rewrapped.write_over(message).expect("as long as before");
    }
}

/// A local master key, which kms-aead leaves to its users: AES-256-GCM by ring.
struct LocalKey(LessSafeKey);

impl LocalKey {
    fn new() -> Self {
        LocalKey(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[9; 32]).expect("32 bytes")))
    }
}

#[async_trait::async_trait]
impl KmsAeadRingEncryptionProvider for LocalKey {
    async fn encrypt_data_encryption_key(
        &self,
        key: &DataEncryptionKey,
    ) -> KmsAeadResult<EncryptedDataEncryptionKey> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("OS randomness");
        let mut wrapped = nonce.to_vec();
        let mut secret = key.0.ref_sensitive_value().clone();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce, ring::aead::Aad::empty(), &mut secret)
            .expect("32 bytes");
        wrapped.extend_from_slice(&secret);
        Ok(EncryptedDataEncryptionKey::new(wrapped, None))
    }

    async fn decrypt_data_encryption_key(
        &self,
        wrapped: &EncryptedDataEncryptionKey,
    ) -> KmsAeadResult<DataEncryptionKey> {
        let (nonce, wrapped) = wrapped.wrapped().split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("12 bytes");
        let mut key = wrapped.to_vec();
        let key = self.0.open_in_place(nonce, ring::aead::Aad::empty(), &mut key).expect("own");
        Ok(DataEncryptionKey(SecretValue::new(key.to_vec())))
    }

    async fn generate_encryption_key(
        &self,
        cipher: &RingAeadEncryption,
    ) -> KmsAeadResult<DataEncryptionKey> {
        cipher.generate_data_encryption_key()
    }
}

struct KmsAead(KmsAeadRingEnvelopeEncryption<LocalKey>, LocalKey, String);

impl KmsAead {
    fn new() -> Self {
        let made = KmsAeadRingEnvelopeEncryption::with_algorithm(LocalKey::new(), &AES_256_GCM);
        KmsAead(block_on(made).expect("a local key"), LocalKey::new(), AAD.to_owned())
    }
}

impl Peer for KmsAead {
    fn name(&self) -> &'static str {
        "kms-aead 0.29 (ring)"
    }

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        let plaintext = SecretValue::new(plaintext.to_vec());
        block_on(self.0.encrypt_value(&self.2, &plaintext)).expect("a local key").0
    }

    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        let message = CipherTextWithEncryptedKey::from(message.to_vec());
        let plaintext = block_on(self.0.decrypt_value(&self.2, &message)).expect("own");
        plaintext.ref_sensitive_value().clone()
    }

    fn rewrap(&self, message: &mut Vec<u8>) {
        let stored = CipherTextWithEncryptedKey::from(std::mem::take(message));
        let (body, wrapped) = stored.separate().expect("own");
        let data_key = block_on(self.1.decrypt_data_encryption_key(&wrapped)).expect("own");
        let wrapped = block_on(self.1.encrypt_data_encryption_key(&data_key)).expect("32 bytes");
        *message = CipherTextWithEncryptedKey::new(&body, &wrapped).expect("short").0;
    }
}

struct Envelopers(EnvelopeCipher<SimpleKeyProvider<Aes256Gcm>>);

impl Peer for Envelopers {
    fn name(&self) -> &'static str {
        "envelopers 0.8 (RustCrypto)"
    }

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        let encryption = self.0.encrypt_with(plaintext).aad(AAD);
        block_on(encryption.encrypt()).expect("a local key").to_vec().expect("CBOR")
    }

    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        let record = EncryptedRecord::from_vec(message.to_vec()).expect("CBOR");
        block_on(self.0.decrypt_with(&record).aad(AAD).decrypt()).expect("own")
    }
}

fn tink() -> KmsEnvelopeAead {
    tink_aead::init();
    let master = Handle::new(&tink_aead::aes256_gcm_key_template()).expect("a template");
    let master = tink_aead::new(&master).expect("an AEAD");
    KmsEnvelopeAead::new(tink_aead::aes256_gcm_no_prefix_key_template(), master)
}

impl Peer for KmsEnvelopeAead {
    fn name(&self) -> &'static str {
        "tink-aead 0.3 (RustCrypto)"
    }

    fn encrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        Aead::encrypt(self, plaintext, AAD.as_bytes()).expect("a local key")
    }

    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        Aead::decrypt(self, message, AAD.as_bytes()).expect("own")
    }
}
