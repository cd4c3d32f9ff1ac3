//! The provider that is always there: RustCrypto's `aes-gcm` and `chacha20poly1305`.

#[cfg(not(feature = "aws-lc-rs"))]
mod wrap;

use super::CryptoError;
use super::aead::{Aead, Nonce, Tag};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadCore, AeadInOut, KeyInit, inout::InOutBuf};

pub(super) use chacha20poly1305::ChaCha20Poly1305;
#[cfg(not(feature = "aws-lc-rs"))]
pub(super) use wrap::{Aes256, with_aes_256_gcm};

// GCM decrypts with AES's encryption alone. Without the schedule of the other direction a cipher has half the
// size, which counts wherever it is moved.
pub(super) type Aes128Gcm = AesGcm<aes::Aes128Enc, U12>;
pub(super) type Aes256Gcm = AesGcm<aes::Aes256Enc, U12>;

/// Sets up a cipher from a key of exactly its length.
#[inline]
pub(super) fn set_up<C: KeyInit>(key: &[u8]) -> Result<C, CryptoError> {
    C::new_from_slice(key).map_err(|_| CryptoError)
}

impl<C> Aead for C
where
    C: AeadCore<NonceSize = U12, TagSize = U16> + AeadInOut,
{
    fn encrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        let tag = self.encrypt_inout_detached(nonce.into(), aad, buffer.into());
        tag.map(Into::into).map_err(|_| CryptoError)
    }

    fn encrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        let buffer = InOutBuf::new(plaintext, ciphertext).map_err(|_| CryptoError)?;
        let tag = self.encrypt_inout_detached(nonce.into(), aad, buffer);
        tag.map(Into::into).map_err(|_| CryptoError)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        self.decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into())
            .map_err(|_| CryptoError)
    }

    fn decrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        let buffer = InOutBuf::new(ciphertext, plaintext).map_err(|_| CryptoError)?;
        self.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).map_err(|_| CryptoError)
    }
}
