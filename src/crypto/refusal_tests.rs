//! Tests of the output buffer after a failed decryption, for every provider and AEAD (THREATS 29).

use super::aead::{AeadAlgorithm, AnyAead, Nonce, Tag};
use super::provider::Provider;
use alloc::vec;
use alloc::vec::Vec;
use core::iter;

/// The content of an output buffer before a decryption that must not write plaintext to it.
const UNTOUCHED: u8 = 0xA5;

const NONCE: Nonce = [7; 12];

/// Of each vector width and its neighbours, and of a chunk.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=600).chain([1023, 1024, 1025, 4096, 16_383, 16_384])
}

/// Plaintext in which no byte is zero or [`UNTOUCHED`], so that any of it is seen.
fn plaintext(len: usize) -> Vec<u8> {
    let bytes = (1..=255_u8).filter(|byte| *byte != UNTOUCHED);
    iter::repeat_n(bytes, len / 200 + 1).flatten().take(len).collect()
}

fn all_are(buffer: &[u8], value: u8) -> bool {
    buffer.iter().all(|byte| *byte == value)
}

/// An AEAD, and a ciphertext whose tag verifies.
struct TestCiphertext {
    cipher: AnyAead,
    ciphertext: Vec<u8>,
    tag: Tag,
    aad: [u8; 3],
    name: alloc::string::String,
}

impl TestCiphertext {
    fn new(provider: Provider, algorithm: AeadAlgorithm, len: usize) -> Self {
        let key = vec![0x42; algorithm.key_len()];
        let cipher = AnyAead::new(provider, algorithm, &key).unwrap();
        let (mut ciphertext, aad) = (plaintext(len), [1, 2, 3]);
        let tag = cipher.as_aead().encrypt_in_place(&NONCE, &aad, &mut ciphertext).unwrap();
        let name = alloc::format!("{provider} {algorithm:?} {len}");
        TestCiphertext { cipher, ciphertext, tag, aad, name }
    }

    /// Both ways to decrypt refuse, and leave nothing that was decrypted.
    fn is_refused(&self) {
        let (aead, name, ciphertext) = (self.cipher.as_aead(), &self.name, &self.ciphertext);
        let mut buffer = ciphertext.clone();
        assert!(aead.decrypt_in_place(&NONCE, &self.aad, &mut buffer, &self.tag).is_err());
        assert!(buffer == *ciphertext || all_are(&buffer, 0), "{name}: unverified, in place");

        buffer.fill(UNTOUCHED);
        assert!(aead.decrypt_into(&NONCE, &self.aad, ciphertext, &mut buffer, &self.tag).is_err());
        let harmless = all_are(&buffer, UNTOUCHED) || all_are(&buffer, 0) || buffer == *ciphertext;
        assert!(harmless, "{name}: unverified plaintext");
    }

    fn opens(&self) {
        let (aead, len) = (self.cipher.as_aead(), self.ciphertext.len());
        let mut buffer = vec![UNTOUCHED; len];
        aead.decrypt_into(&NONCE, &self.aad, &self.ciphertext, &mut buffer, &self.tag).unwrap();
        assert!(buffer == plaintext(len), "{}", self.name);
    }
}

#[test]
fn failed_decryption_leaves_no_plaintext() {
    let mut refused = 0;
    for &provider in Provider::ALL {
        for algorithm in AeadAlgorithm::ALL {
            for len in lengths() {
                let mut sealed = TestCiphertext::new(provider, algorithm, len);
                sealed.opens();
                for at in [0, 15] {
                    sealed.tag[at] ^= 0x80;
                    sealed.is_refused();
                    sealed.tag[at] ^= 0x80;
                }
                sealed.aad[2] ^= 1;
                sealed.is_refused();
                sealed.aad[2] ^= 1;
                for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
                    sealed.ciphertext[at] ^= 1;
                    sealed.is_refused();
                    sealed.ciphertext[at] ^= 1;
                    refused += 1;
                }
                sealed.opens();
            }
        }
    }
    assert!(refused >= Provider::ALL.len() * 3 * 3 * 600, "only {refused} were refused");
}

/// Buffers of two lengths are refused before anything is written.
#[test]
fn buffers_of_two_lengths_are_refused_untouched() {
    for &provider in Provider::ALL {
        for algorithm in AeadAlgorithm::ALL {
            let sealed = TestCiphertext::new(provider, algorithm, 100);
            let aead = sealed.cipher.as_aead();
            for len in [0, 99, 101] {
                let mut output = vec![UNTOUCHED; len];
                assert!(aead.encrypt_into(&NONCE, &[], &[1; 100], &mut output).is_err());
                let TestCiphertext { aad, ciphertext, tag, .. } = &sealed;
                assert!(aead.decrypt_into(&NONCE, aad, ciphertext, &mut output, tag).is_err());
                assert!(all_are(&output, UNTOUCHED), "{} into {len}", sealed.name);
            }
        }
    }
}
