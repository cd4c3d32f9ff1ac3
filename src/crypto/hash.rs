//! SHA-256 (FIPS 180-4) of what is public: names of key material.

use sha2::{Digest, Sha256};

/// SHA-256 of the concatenation of `pieces`.
pub(crate) fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().into()
}
