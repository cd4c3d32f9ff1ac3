//! The fastest provider: AWS-LC, through `aws-lc-rs` (feature `aws-lc-rs`).
//!
//! Wiping is AWS-LC's: `OPENSSL_free` cleanses the whole block that it gives back, and the key
//! schedule of an AEAD lives in one such block, where moves of the Rust value do not copy it. That of
//! [`Aes256`] is part of the Rust value, which wipes itself and not what it was moved from. What a call
//! derives from the key on the stack (the GHASH key and the first counter block) it leaves there.

use super::CryptoError;
use super::aead::{Aead, AeadAlgorithm, Nonce, Tag};
use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};

/// An AEAD of AWS-LC with its key set up.
pub(crate) struct AwsLc {
    key: LessSafeKey,
}

impl AwsLc {
    /// Sets up a cipher from a key of exactly its length.
    #[inline]
    pub(super) fn set_up(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = match algorithm {
            AeadAlgorithm::Aes256Gcm => &aead::AES_256_GCM,
            AeadAlgorithm::Aes128Gcm => &aead::AES_128_GCM,
            AeadAlgorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError)?;
        Ok(AwsLc { key: LessSafeKey::new(key) })
    }

    pub(super) fn is_gcm(&self) -> bool {
        self.key.algorithm() != &aead::CHACHA20_POLY1305
    }
}

/// Sets up AES-256-GCM for one call of `run`. Fails where AWS-LC gets no memory.
pub(super) fn with_aes_256_gcm<T>(
    key: &[u8; 32],
    _: &Nonce,
    run: impl FnOnce(&dyn Aead) -> Result<T, CryptoError>,
) -> Result<T, CryptoError> {
    run(&AwsLc::set_up(AeadAlgorithm::Aes256Gcm, key)?)
}

/// AES-256 alone, with its key set up to encrypt.
pub(super) struct Aes256(EncryptingKey);

impl Aes256 {
    #[expect(clippy::expect_used, reason = "32 bytes are the one condition")]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, key).and_then(EncryptingKey::ecb);
        Aes256(key.expect("a key of 32 bytes"))
    }

    #[expect(clippy::expect_used, reason = "whole blocks are the one condition")]
    pub(super) fn encrypt_blocks(&self, blocks: &mut [[u8; 16]]) {
        self.0.encrypt(blocks.as_flattened_mut()).expect("whole blocks");
    }
}

/// The body layer derives each nonce from the index of a chunk: they are unique there.
fn unique(nonce: &Nonce) -> aead::Nonce {
    aead::Nonce::assume_unique_for_key(*nonce)
}

/// AWS-LC decrypts before it has compared the tag, and then fills its output with zeros if it
/// differs (`EVP_AEAD_CTX_open_gather`). That this holds is tested, not assumed: `refusal_tests.rs`.
impl Aead for AwsLc {
    fn encrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(unique(nonce), aead::Aad::from(aad), buffer)
            .map_err(|_| CryptoError)?;
        tag.as_ref().try_into().map_err(|_| CryptoError)
    }

    fn encrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        let mut tag = Tag::default();
        // Not as the "extra" input, whose ChaCha20 goes block by block.
        self.key
            .seal_out_of_place_scatter(
                unique(nonce),
                aead::Aad::from(aad),
                plaintext,
                ciphertext,
                &[],
                &mut tag,
            )
            .map_err(|_| CryptoError)?;
        Ok(tag)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        self.key
            .open_in_place_separate_tag(unique(nonce), aead::Aad::from(aad), tag, buffer)
            .map(|_| ())
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
        self.key
            .open_separate_gather(unique(nonce), aead::Aad::from(aad), ciphertext, tag, plaintext)
            .map_err(|_| CryptoError)
    }
}
