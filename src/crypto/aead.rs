//! The AEAD seam: what the body needs of a cipher, and the value that stands for one.

#[cfg(feature = "aws-lc-rs")]
use super::aws_lc;
#[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
use super::graviola;
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

/// Size of a variant of [`AnyAead`]: a tag in front of `C`, at its alignment.
const fn room<C>() -> usize {
    size_of::<C>() + align_of::<C>()
}

/// Size of the largest variant.
const SIZE: usize = {
    let most = room::<rustcrypto::Aes256Gcm>();
    #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
    let most =
        if room::<graviola::Graviola>() > most { room::<graviola::Graviola>() } else { most };
    most
};

/// How many bytes `C` and a tag of one byte lack to fill [`AnyAead`].
const fn filler<C>() -> usize {
    SIZE - 1 - size_of::<C>()
}

/// One of the compiled-in AEADs, by value: no registry, and no allocation of ours.
///
/// Zeros fill the room that a variant leaves. A move copies an enum at its full size: what lies on the
/// stack, keys too, would come along in that room, and stay where nothing wipes it.
#[expect(dead_code, reason = "nothing reads the zeros")]
pub(crate) enum AnyAead {
    Aes256Gcm(rustcrypto::Aes256Gcm, [u8; filler::<rustcrypto::Aes256Gcm>()]),
    Aes128Gcm(rustcrypto::Aes128Gcm, [u8; filler::<rustcrypto::Aes128Gcm>()]),
    ChaCha20Poly1305(rustcrypto::ChaCha20Poly1305, [u8; filler::<rustcrypto::ChaCha20Poly1305>()]),
    #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
    Graviola(graviola::Graviola, [u8; filler::<graviola::Graviola>()]),
    #[cfg(feature = "aws-lc-rs")]
    AwsLc(aws_lc::AwsLc, [u8; filler::<aws_lc::AwsLc>()]),
}

// A tag, a cipher and zeros are all there is: no variant has padding.
const _: () = assert!(size_of::<AnyAead>() == SIZE);

impl AnyAead {
    /// Sets up `key` for `algorithm`.
    ///
    /// # Errors
    ///
    /// The key has another length than the algorithm's.
    #[inline]
    pub(crate) fn new(
        provider: Provider,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Self, CryptoError> {
        match provider {
            Provider::RustCrypto => Self::rustcrypto(algorithm, key),
            #[cfg(feature = "graviola")]
            Provider::Graviola => Self::graviola(algorithm, key),
            #[cfg(feature = "aws-lc-rs")]
            Provider::AwsLcRs => {
                let key = aws_lc::AwsLc::set_up(algorithm, key)?;
                Ok(AnyAead::AwsLc(key, [0; filler::<aws_lc::AwsLc>()]))
            }
        }
    }

    #[inline]
    fn rustcrypto(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match algorithm {
            AeadAlgorithm::Aes256Gcm => {
                AnyAead::Aes256Gcm(rustcrypto::set_up(key)?, [0; filler::<rustcrypto::Aes256Gcm>()])
            }
            AeadAlgorithm::Aes128Gcm => {
                AnyAead::Aes128Gcm(rustcrypto::set_up(key)?, [0; filler::<rustcrypto::Aes128Gcm>()])
            }
            AeadAlgorithm::ChaCha20Poly1305 => AnyAead::ChaCha20Poly1305(
                rustcrypto::set_up(key)?,
                [0; filler::<rustcrypto::ChaCha20Poly1305>()],
            ),
        })
    }

    /// RustCrypto's where the processor or the target is another, and for ChaCha20-Poly1305.
    #[inline]
    #[cfg(feature = "graviola")]
    fn graviola(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if algorithm != AeadAlgorithm::ChaCha20Poly1305 && graviola::is_supported() {
            let key = graviola::Graviola::set_up(algorithm, key)?;
            return Ok(AnyAead::Graviola(key, [0; filler::<graviola::Graviola>()]));
        }
        Self::rustcrypto(algorithm, key)
    }

    /// Whether it is as fast as memory, so that a core encrypts as many bytes as it exchanges with another
    /// one in that time.
    pub(crate) fn is_fast(&self) -> bool {
        match self {
            #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
            AnyAead::Graviola(..) => true,
            #[cfg(feature = "aws-lc-rs")]
            AnyAead::AwsLc(aead, _) => aead.is_gcm(),
            _ => false,
        }
    }

    /// Whether it has calls in place alone, so that one between buffers copies first.
    #[cfg(feature = "std")]
    pub(crate) fn is_in_place_only(&self) -> bool {
        #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
        if let AnyAead::Graviola(..) = self {
            return true;
        }
        false
    }

    /// The cipher behind the value.
    pub(crate) fn as_aead(&self) -> &dyn Aead {
        match self {
            AnyAead::Aes256Gcm(aead, _) => aead,
            AnyAead::Aes128Gcm(aead, _) => aead,
            AnyAead::ChaCha20Poly1305(aead, _) => aead,
            #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
            AnyAead::Graviola(aead, _) => aead,
            #[cfg(feature = "aws-lc-rs")]
            AnyAead::AwsLc(aead, _) => aead,
        }
    }
}
