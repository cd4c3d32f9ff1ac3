//! AES-256-GCM by value, of the crate that envelock takes it from by default.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use envelock::Provider;

/// A key that is set up. By value, as envelock has it.
#[allow(clippy::large_enum_variant, reason = "a box would cost an allocation")]
pub enum Gcm {
    RustCrypto(Aes256Gcm),
    #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
    Graviola(graviola::aead::AesGcm),
    #[cfg(feature = "aws-lc-rs")]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
}

impl Gcm {
    pub fn new(key: &[u8; 32]) -> Self {
        match Provider::default() {
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLcRs => {
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                Gcm::AwsLc(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes")))
            }
            #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Provider::Graviola => Gcm::Graviola(graviola::aead::AesGcm::new(key)),
            _ => Gcm::RustCrypto(Aes256Gcm::new(key.into())),
        }
    }

    pub fn encrypt(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; 16] {
        match self {
            Gcm::RustCrypto(key) => {
                let tag = key.encrypt_inout_detached(nonce.into(), aad, buffer.into());
                tag.expect("shorter than 64 GiB").into()
            }
            #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Gcm::Graviola(key) => {
                let mut tag = [0; 16];
                key.encrypt(nonce, aad, buffer, &mut tag);
                tag
            }
            #[cfg(feature = "aws-lc-rs")]
            Gcm::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
                tag.expect("shorter than 64 GiB").as_ref().try_into().expect("16 bytes")
            }
        }
    }

    pub fn decrypt(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8], tag: &[u8; 16]) {
        let is_authentic = match self {
            Gcm::RustCrypto(key) => {
                key.decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into()).is_ok()
            }
            #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Gcm::Graviola(key) => key.decrypt(nonce, aad, buffer, tag).is_ok(),
            #[cfg(feature = "aws-lc-rs")]
            Gcm::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, buffer).is_ok()
            }
        };
        assert!(is_authentic, "encrypted by encrypt");
    }
}
