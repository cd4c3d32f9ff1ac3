//! The AEAD seam: what the body needs of a cipher, and the value that stands for one.

#[cfg(feature = "aws-lc-rs")]
use super::aws_lc;
use super::provider::Provider;
use super::{CryptoError, rustcrypto};

/// Length of every nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 12;

/// Length of every tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

pub(crate) type Nonce = [u8; NONCE_LEN];
pub(crate) type Tag = [u8; TAG_LEN];

/// An AEAD with its key set up.
///
/// `_into` methods take two buffers of one length. A decryption that fails leaves in its output
/// what was there before, the ciphertext or zeros: never a byte that came of decrypting.
pub(crate) trait Aead {
    fn encrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<Tag, CryptoError>;

    fn encrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<Tag, CryptoError>;

    fn decrypt_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError>;

    fn decrypt_into(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError>;
}

/// The AEADs of the format, by their IANA registry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AeadAlgorithm {
    Aes256Gcm,
    Aes128Gcm,
    ChaCha20Poly1305,
}

impl AeadAlgorithm {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] =
        [AeadAlgorithm::Aes256Gcm, AeadAlgorithm::Aes128Gcm, AeadAlgorithm::ChaCha20Poly1305];

    /// Name in the IANA AEAD registry.
    pub(crate) const fn iana_name(self) -> &'static str {
        match self {
            AeadAlgorithm::Aes256Gcm => "AEAD_AES_256_GCM",
            AeadAlgorithm::Aes128Gcm => "AEAD_AES_128_GCM",
            AeadAlgorithm::ChaCha20Poly1305 => "AEAD_CHACHA20_POLY1305",
        }
    }

    /// Key length in bytes.
    pub(crate) const fn key_len(self) -> usize {
        match self {
            AeadAlgorithm::Aes256Gcm | AeadAlgorithm::ChaCha20Poly1305 => 32,
            AeadAlgorithm::Aes128Gcm => 16,
        }
    }
}

/// An AEAD as large as the largest, so that no variant of an enum leaves room.
///
/// A move copies an enum at its full size: what lies on the stack, keys too, would come along in
/// the room that a small variant leaves, and stay where nothing wipes it.
pub(crate) struct Filled<C, const N: usize> {
    cipher: C,
    _zeros: [u8; N],
}

impl<C, const N: usize> Filled<C, N> {
    fn new(cipher: C) -> Self {
        Filled { cipher, _zeros: [0; N] }
    }
}

/// How much an AEAD lacks to be as large as the largest.
const fn filler<C>() -> usize {
    size_of::<rustcrypto::Aes256Gcm>() - size_of::<C>()
}

/// One of the compiled-in AEADs, by value: no registry, and no allocation of ours.
pub(crate) enum AnyAead {
    Aes256Gcm(rustcrypto::Aes256Gcm),
    Aes128Gcm(Filled<rustcrypto::Aes128Gcm, { filler::<rustcrypto::Aes128Gcm>() }>),
    ChaCha20Poly1305(
        Filled<rustcrypto::ChaCha20Poly1305, { filler::<rustcrypto::ChaCha20Poly1305>() }>,
    ),
    #[cfg(feature = "aws-lc-rs")]
    AwsLc(Filled<aws_lc::AwsLc, { filler::<aws_lc::AwsLc>() }>),
}

impl AnyAead {
    /// Sets up `key` for `algorithm`.
    ///
    /// # Errors
    ///
    /// The key has another length than the algorithm's.
    pub(crate) fn new(
        provider: Provider,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Self, CryptoError> {
        match provider {
            Provider::RustCrypto => Self::rustcrypto(algorithm, key),
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLcRs => {
                aws_lc::AwsLc::set_up(algorithm, key).map(Filled::new).map(AnyAead::AwsLc)
            }
        }
    }

    fn rustcrypto(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match algorithm {
            AeadAlgorithm::Aes256Gcm => AnyAead::Aes256Gcm(rustcrypto::set_up(key)?),
            AeadAlgorithm::Aes128Gcm => AnyAead::Aes128Gcm(Filled::new(rustcrypto::set_up(key)?)),
            AeadAlgorithm::ChaCha20Poly1305 => {
                AnyAead::ChaCha20Poly1305(Filled::new(rustcrypto::set_up(key)?))
            }
        })
    }

    /// The cipher behind the value.
    pub(crate) fn as_aead(&self) -> &dyn Aead {
        match self {
            AnyAead::Aes256Gcm(aead) => aead,
            AnyAead::Aes128Gcm(aead) => &aead.cipher,
            AnyAead::ChaCha20Poly1305(aead) => &aead.cipher,
            #[cfg(feature = "aws-lc-rs")]
            AnyAead::AwsLc(aead) => &aead.cipher,
        }
    }
}
