//! Suites: which AEAD and which hash encrypt a body, under one id.

use crate::crypto::aead::AeadAlgorithm;
use core::fmt;

/// How a body is encrypted: an AEAD and a hash under one id (SPEC 3.1).
///
/// All three are the construction of <https://c2sp.org/chunked-encryption> with SHA-512.
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
}

impl Suite {
    /// Every suite, in the order of its id.
    pub const ALL: [Suite; 3] =
        [Suite::Cobblestone256, Suite::Cobblestone128, Suite::ChunkedChaCha20Poly1305];

    /// The suite of an id, or `None` if the id is not assigned.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Suite::Cobblestone256),
            2 => Some(Suite::Cobblestone128),
            3 => Some(Suite::ChunkedChaCha20Poly1305),
            _ => None,
        }
    }

    /// The id on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Suite::Cobblestone256 => 1,
            Suite::Cobblestone128 => 2,
            Suite::ChunkedChaCha20Poly1305 => 3,
        }
    }

    /// Length of this suite's data keys, in bytes.
    pub const fn data_key_len(self) -> usize {
        self.aead().key_len()
    }

    pub(crate) const fn aead(self) -> AeadAlgorithm {
        match self {
            Suite::Cobblestone256 => AeadAlgorithm::Aes256Gcm,
            Suite::Cobblestone128 => AeadAlgorithm::Aes128Gcm,
            Suite::ChunkedChaCha20Poly1305 => AeadAlgorithm::ChaCha20Poly1305,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Cobblestone256 => "Cobblestone-256",
            Suite::Cobblestone128 => "Cobblestone-128",
            Suite::ChunkedChaCha20Poly1305 => "chunked ChaCha20-Poly1305",
        })
    }
}
