//! The envelope that a program writes for itself in an afternoon: a random key, wrapped by
//! AES-256-GCM, and AES-256-GCM over the whole body, both of the crate that envelock uses. No commitment,
//! no header, no key versions, nothing that binds the wrap to its message.

use super::gcm::Gcm;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const WRAPPED_LEN: usize = NONCE_LEN + 32 + TAG_LEN;

pub struct HandRolled {
    master: Gcm,
}

impl HandRolled {
    pub fn new() -> Self {
        HandRolled { master: Gcm::new(&[9; 32]) }
    }

    /// wrap nonce || wrapped key || wrap tag || nonce || ciphertext || tag
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut random = [0; 32 + 2 * NONCE_LEN];
        getrandom::fill(&mut random).expect("OS randomness");
        let (key, nonces) = random.split_first_chunk().expect("32 bytes");
        let (wrap_nonce, nonce) = nonces.split_first_chunk().expect("12 bytes");
        let nonce: &[u8; NONCE_LEN] = nonce.try_into().expect("12 bytes");

        let mut message = Vec::with_capacity(WRAPPED_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        message.extend_from_slice(&self.wrap(wrap_nonce, key));
        message.extend_from_slice(nonce);
        message.extend_from_slice(plaintext);
        let body = &mut message[WRAPPED_LEN + NONCE_LEN..];
        let tag = Gcm::new(key).encrypt(nonce, aad, body);
        message.extend_from_slice(&tag);
        message
    }

    pub fn decrypt(&self, message: &[u8], aad: &[u8]) -> Vec<u8> {
        let (wrapped, body) = message.split_first_chunk().expect("a wrapped key");
        let cipher = Gcm::new(&self.unwrap(wrapped));
        let (nonce, body) = body.split_first_chunk().expect("a nonce");
        let (ciphertext, tag) = body.split_last_chunk().expect("a tag");
        let mut plaintext = ciphertext.to_vec();
        cipher.decrypt(nonce, aad, &mut plaintext, tag);
        plaintext
    }

    /// The wrapped key of `message` under the master key `to`.
    pub fn rewrap(&self, message: &[u8], to: &HandRolled) -> [u8; WRAPPED_LEN] {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("OS randomness");
        to.wrap(&nonce, &self.unwrap(message.first_chunk().expect("a wrapped key")))
    }

    fn wrap(&self, nonce: &[u8; NONCE_LEN], key: &[u8; 32]) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        wrapped[..NONCE_LEN].copy_from_slice(nonce);
        wrapped[NONCE_LEN..][..32].copy_from_slice(key);
        let tag = self.master.encrypt(nonce, &[], &mut wrapped[NONCE_LEN..][..32]);
        wrapped[NONCE_LEN + 32..].copy_from_slice(&tag);
        wrapped
    }

    fn unwrap(&self, wrapped: &[u8; WRAPPED_LEN]) -> [u8; 32] {
        let (nonce, rest) = wrapped.split_first_chunk().expect("a nonce");
        let (key, tag) = rest.split_first_chunk().expect("a key");
        let mut key = *key;
        self.master.decrypt(nonce, &[], &mut key, tag.try_into().expect("a tag"));
        key
    }
}
