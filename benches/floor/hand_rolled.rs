//! The envelope that a program writes for itself in an afternoon: a random key, wrapped by
//! AES-256-GCM, and AES-256-GCM over the whole body. No commitment, no header, no key versions,
//! nothing that binds the wrap to its message.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const WRAPPED_LEN: usize = NONCE_LEN + 32 + TAG_LEN;

pub struct HandRolled {
    master: Aes256Gcm,
}

impl HandRolled {
    pub fn new() -> Self {
        HandRolled { master: Aes256Gcm::new(&[9; 32].into()) }
    }

    /// wrap nonce || wrapped key || wrap tag || nonce || ciphertext || tag
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut random = [0; 32 + 2 * NONCE_LEN];
        getrandom::fill(&mut random).expect("OS randomness");
        let (key, nonces) = random.split_at(32);
        let (wrap_nonce, nonce) = nonces.split_at(NONCE_LEN);

        let mut message = Vec::with_capacity(WRAPPED_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        message.extend_from_slice(wrap_nonce);
        let mut wrapped = [0; 32];
        wrapped.copy_from_slice(key);
        let wrap_nonce = wrap_nonce.try_into().expect("12 bytes");
        let tag =
            self.master.encrypt_inout_detached(wrap_nonce, &[], wrapped.as_mut_slice().into());
        message.extend_from_slice(&wrapped);
        message.extend_from_slice(&tag.expect("32 bytes"));

        let cipher = Aes256Gcm::new_from_slice(key).expect("32 bytes");
        message.extend_from_slice(nonce);
        message.extend_from_slice(plaintext);
        let body = &mut message[WRAPPED_LEN + NONCE_LEN..];
        let nonce = nonce.try_into().expect("12 bytes");
        let tag = cipher.encrypt_inout_detached(nonce, aad, body.into());
        message.extend_from_slice(&tag.expect("shorter than 64 GiB"));
        message
    }

    pub fn decrypt(&self, message: &[u8], aad: &[u8]) -> Vec<u8> {
        let (wrapped, body) = message.split_at(WRAPPED_LEN);
        let (wrap_nonce, wrapped) = wrapped.split_at(NONCE_LEN);
        let mut key = open(&self.master, wrap_nonce, &[], wrapped);
        let cipher = Aes256Gcm::new_from_slice(&key).expect("32 bytes");
        key.fill(0);
        let (nonce, body) = body.split_at(NONCE_LEN);
        open(&cipher, nonce, aad, body)
    }
}

fn open(cipher: &Aes256Gcm, nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_LEN);
    let mut plaintext = ciphertext.to_vec();
    let nonce = nonce.try_into().expect("12 bytes");
    let tag = tag.try_into().expect("16 bytes");
    let opened = cipher.decrypt_inout_detached(nonce, aad, plaintext.as_mut_slice().into(), tag);
    opened.expect("encrypted by encrypt");
    plaintext
}
