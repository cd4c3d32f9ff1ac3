//! Suites: the AEAD and the hash of a body under one id.

use crate::crypto::aead::AeadAlgorithm;
use crate::crypto::kdf::Hash;
use core::fmt;

/// The AEAD and the hash that encrypt a body, under one id (SPEC 3.1).
///
/// All suites are the construction of <https://c2sp.org/chunked-encryption>. The default fits every
/// use. Suite 4 is faster for small messages, suite 3 on processors without AES instructions.
#[doc(alias = "algorithm")]
#[doc(alias = "cipher")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// Suite 1: Cobblestone-256 (AES-256-GCM), a 32-byte data key.
    #[default]
    Cobblestone256,
    /// Suite 2: Cobblestone-128 (AES-128-GCM), a 16-byte data key.
    Cobblestone128,
    /// Suite 3: the same construction over ChaCha20-Poly1305, a 32-byte data key. Use it on
    /// processors without AES instructions.
    ChunkedChaCha20Poly1305,
    /// Suite 4: the same construction over AES-256-GCM with SHA-256, a 32-byte data key. Use
    /// it for database fields and other messages of up to about 4 KiB on processors with SHA
    /// instructions.
    ///
    /// The commitment has 128 bits of collision resistance, as in every suite, since it has 32 bytes.
    /// The suite has no Cobblestone name and no published vectors, so other implementations of
    /// Cobblestone do not open its bodies. Use suite 1 for interoperability.
    ChunkedAes256GcmSha256,
}

impl Suite {
    /// Every suite, in order of id.
    pub const ALL: &'static [Suite] = &[
        Suite::Cobblestone256,
        Suite::Cobblestone128,
        Suite::ChunkedChaCha20Poly1305,
        Suite::ChunkedAes256GcmSha256,
    ];

    /// Returns the suite of an id, or `None` if the id is not assigned.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Suite::Cobblestone256),
            2 => Some(Suite::Cobblestone128),
            3 => Some(Suite::ChunkedChaCha20Poly1305),
            4 => Some(Suite::ChunkedAes256GcmSha256),
            _ => None,
        }
    }

    /// Returns the id on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Suite::Cobblestone256 => 1,
            Suite::Cobblestone128 => 2,
            Suite::ChunkedChaCha20Poly1305 => 3,
            Suite::ChunkedAes256GcmSha256 => 4,
        }
    }

    /// Returns the length of this suite's data keys in bytes.
    pub const fn data_key_len(self) -> usize {
        self.aead().key_len()
    }

    pub(crate) const fn aead(self) -> AeadAlgorithm {
        match self {
            Suite::Cobblestone256 | Suite::ChunkedAes256GcmSha256 => AeadAlgorithm::Aes256Gcm,
            Suite::Cobblestone128 => AeadAlgorithm::Aes128Gcm,
            Suite::ChunkedChaCha20Poly1305 => AeadAlgorithm::ChaCha20Poly1305,
        }
    }

    /// Returns the hash of the key derivation.
    pub(crate) const fn hash(self) -> Hash {
        match self {
            Suite::Cobblestone256 | Suite::Cobblestone128 | Suite::ChunkedChaCha20Poly1305 => {
                Hash::Sha512
            }
            Suite::ChunkedAes256GcmSha256 => Hash::Sha256,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Cobblestone256 => "Cobblestone-256",
            Suite::Cobblestone128 => "Cobblestone-128",
            Suite::ChunkedChaCha20Poly1305 => "chunked ChaCha20-Poly1305",
            Suite::ChunkedAes256GcmSha256 => "chunked AES-256-GCM with SHA-256",
        })
    }
}
