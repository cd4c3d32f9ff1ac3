//! XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>): random 24-byte nonces without a practical
//! limit on the number of wraps.

use super::{CryptoError, secret::MasterKey};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{AeadInOut, KeyInit, inout::InOutBuf};

/// Length of the nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 24;

/// Length of the tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// A master key with its AES key schedule set up once.
pub(crate) struct Xaes(Xaes256Gcm);

impl Xaes {
    /// Sets up the key schedule.
    pub(crate) fn new(key: &MasterKey) -> Self {
        Xaes(Xaes256Gcm::new(key.expose().into()))
    }

    /// Encrypts `plaintext` into `ciphertext`, both of one length, and returns the tag.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        let buffer = InOutBuf::new(plaintext, ciphertext).map_err(|_| CryptoError)?;
        let tag = self.0.encrypt_inout_detached(nonce.into(), aad, buffer);
        tag.map(Into::into).map_err(|_| CryptoError)
    }

    /// Verifies `tag`, then decrypts `ciphertext` into `plaintext`, both of one length.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let buffer = InOutBuf::new(ciphertext, plaintext).map_err(|_| CryptoError)?;
        self.0
            .decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
            .map_err(|_| CryptoError)
    }
}
