//! SHA-256 over parts, and hexadecimal text.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Returns the SHA-256 of the concatenated parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Returns the first 8 bytes of the SHA-256 as a number.
pub(crate) fn fraction(parts: &[&[u8]]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(parts);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns the first 16 bytes of the SHA-256 of a header.
pub(crate) fn header_digest(header: &[u8]) -> [u8; 16] {
    let hash = sha256(&[header]);
    let mut digest = [0; 16];
    digest.iter_mut().zip(hash).for_each(|(byte, of)| *byte = of);
    digest
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
