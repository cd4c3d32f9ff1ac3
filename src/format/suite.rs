//! Suites: which AEAD and which hash encrypt a body, under one id.

use crate::crypto::aead::AeadAlgorithm;
use crate::crypto::kdf::{self, Expand};
use core::fmt;

/// How a body is encrypted: an AEAD and a hash under one id (SPEC 3.1).
///
/// All are the construction of <https://c2sp.org/chunked-encryption>. The default serves everything;
/// suite 4 is faster where messages are small, and suite 3 where there are no AES instructions.
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
    /// Suite 3: the same construction over ChaCha20-Poly1305, a 32-byte data key. The choice
    /// for machines without AES instructions.
    ChunkedChaCha20Poly1305,
    /// Suite 4: the same construction over AES-256-GCM with SHA-256, a 32-byte data key. The choice
    /// for database fields and other messages of up to some 4 KiB, on processors with SHA
    /// instructions.
    ///
    /// The commitment has 128 bits of collision resistance, as in every suite: it has 32 bytes. The
    /// suite has no Cobblestone name, and no published vectors: other implementations of
    /// Cobblestone do not open its bodies. Suite 1 is the one for what others must read.
    ChunkedAes256GcmSha256,
}

impl Suite {
    /// Every suite, in the order of its id.
    pub const ALL: &'static [Suite] = &[
        Suite::Cobblestone256,
        Suite::Cobblestone128,
        Suite::ChunkedChaCha20Poly1305,
        Suite::ChunkedAes256GcmSha256,
    ];

    /// The suite of an id, or `None` if the id is not assigned.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Suite::Cobblestone256),
            2 => Some(Suite::Cobblestone128),
            3 => Some(Suite::ChunkedChaCha20Poly1305),
            4 => Some(Suite::ChunkedAes256GcmSha256),
            _ => None,
        }
    }

    /// The id on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Suite::Cobblestone256 => 1,
            Suite::Cobblestone128 => 2,
            Suite::ChunkedChaCha20Poly1305 => 3,
            Suite::ChunkedAes256GcmSha256 => 4,
        }
    }

    /// Length of this suite's data keys, in bytes.
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

    /// HKDF-Expand with the suite's hash.
    pub(crate) const fn expand(self) -> Expand {
        match self {
            Suite::Cobblestone256 | Suite::Cobblestone128 | Suite::ChunkedChaCha20Poly1305 => {
                kdf::expand_sha512
            }
            Suite::ChunkedAes256GcmSha256 => kdf::expand_sha256,
        }
    }

    /// Most bytes that [`expand`](Self::expand) makes: 255 hashes.
    pub(crate) const fn max_expand_len(self) -> usize {
        match self {
            Suite::Cobblestone256 | Suite::Cobblestone128 | Suite::ChunkedChaCha20Poly1305 => {
                255 * 64
            }
            Suite::ChunkedAes256GcmSha256 => 255 * 32,
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
