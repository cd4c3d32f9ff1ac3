//! XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>): random 24-byte nonces without a practical
//! limit on the number of wraps. AES-256-GCM under a key that AES-256 derives from half of the nonce.

use super::aead::{Aead, Nonce};
use super::{CryptoError, secret::MasterKey};
use zeroize::{Zeroize, Zeroizing};

// AWS-LC's where it is compiled in, both or none: RustCrypto's AES leaves round keys on the stack, where its
// next key overwrites them. Of the others RustCrypto's AES-GCM is the fastest for a new key and 32 bytes.
#[cfg(feature = "aws-lc-rs")]
use super::aws_lc::{Aes256, with_aes_256_gcm};
#[cfg(not(feature = "aws-lc-rs"))]
use super::rustcrypto::{Aes256, with_aes_256_gcm};

/// Length of the nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 24;

/// Length of the tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// A master key with its AES key schedule set up once.
pub(crate) struct Xaes {
    aes: Aes256,
    k1: Zeroizing<[u8; 16]>,
}

impl Xaes {
    /// Sets up the key schedule and K1.
    pub(crate) fn new(key: &MasterKey) -> Self {
        let aes = Aes256::new(key.expose());
        // L = AES-256ₖ(0¹²⁸)
        let mut block = [[0; 16]];
        aes.encrypt_blocks(&mut block);
        let l = Zeroizing::new(u128::from_be_bytes(block[0]));
        block.zeroize();
        // K1 = L << 1, and ⊕ 0¹²⁰10000111 if MSB₁(L) is 1.
        let k1 = Zeroizing::new((*l << 1) ^ ((*l >> 127).wrapping_neg() & 0b1000_0111));
        Xaes { aes, k1: Zeroizing::new(k1.to_be_bytes()) }
    }

    /// Sets up Kₓ = AES-256ₖ(M1 ⊕ K1) || AES-256ₖ(M2 ⊕ K1), where Mᵢ = 0x00 || i || X || 0x00 || N[:12],
    /// for one call of `run` with N[12:].
    fn with_derived<T>(
        &self,
        nonce: &[u8; NONCE_LEN],
        run: impl FnOnce(&dyn Aead, &Nonce) -> Result<T, CryptoError>,
    ) -> Result<T, CryptoError> {
        let ([first, second], []) = nonce.as_chunks::<12>() else { return Err(CryptoError) };
        let mut key = Zeroizing::new([0; 32]);
        let (blocks, _) = key.as_chunks_mut::<16>();
        for (i, block) in (1..).zip(blocks.iter_mut()) {
            let m = [0, i, b'X', 0].into_iter().chain(*first);
            for ((byte, m), k1) in block.iter_mut().zip(m).zip(self.k1.iter()) {
                *byte = m ^ k1;
            }
        }
        self.aes.encrypt_blocks(blocks);
        with_aes_256_gcm(&key, second, |cipher| run(cipher, second))
    }

    /// Encrypts `plaintext` into `ciphertext`, both of one length, and returns the tag.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        self.with_derived(nonce, |cipher, nonce| {
            cipher.encrypt_into(nonce, aad, plaintext, ciphertext)
        })
    }

    /// Verifies `tag`, then decrypts `ciphertext` into `plaintext`, both of one length. After a failure
    /// `plaintext` has no byte that came of decrypting.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        self.with_derived(nonce, |cipher, nonce| {
            cipher.decrypt_into(nonce, aad, ciphertext, plaintext, tag)
        })
    }
}
