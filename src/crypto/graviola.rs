//! The fastest provider without a C compiler: AES-GCM of `graviola` (feature `graviola`), in Rust and
//! assembly. Its ChaCha20-Poly1305 is not used: RustCrypto's is faster over whole chunks.
//!
//! `graviola` wipes a key schedule that is dropped, and 16 vector registers after each call. It leaves on
//! the stack what a call derives from the key: round keys in wider registers, the GHASH key, the first
//! counter block.

use super::CryptoError;
use super::aead::{Aead, AeadAlgorithm, Nonce, Tag};
use graviola::aead::AesGcm;

/// Whether this processor has every feature without which `graviola` panics: the same test as its own.
pub(super) use graviola::util::is_cpu_supported as is_supported;

/// AES-GCM of `graviola` with its key set up.
pub(crate) struct Graviola(AesGcm);

impl Graviola {
    /// Sets up a cipher from a key of exactly its length, on a processor that is supported.
    #[inline]
    pub(super) fn set_up(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        // It panics at a length that AES has not.
        if key.len() != algorithm.key_len() {
            return Err(CryptoError);
        }
        Ok(Graviola(AesGcm::new(key)))
    }
}

/// Copies `input` to `output`, where the cipher then works in place: it has no other way.
fn copy(input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
    if input.len() != output.len() {
        return Err(CryptoError);
    }
    output.copy_from_slice(input);
    Ok(())
}

/// `graviola` decrypts before it has compared the tag, and then fills its output with zeros if it
/// differs. That this holds is tested, not assumed: `refusal_tests.rs`.
impl Aead for Graviola {
    fn encrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        let mut tag = Tag::default();
        self.0.encrypt(nonce, aad, buffer, &mut tag);
        Ok(tag)
    }

    fn encrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<Tag, CryptoError> {
        copy(plaintext, ciphertext)?;
        self.encrypt_in_place(nonce, aad, ciphertext)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(nonce, aad, buffer, tag).map_err(|_| CryptoError)
    }

    fn decrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        copy(ciphertext, plaintext)?;
        self.decrypt_in_place(nonce, aad, plaintext, tag)
    }
}
