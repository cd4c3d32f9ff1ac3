//! HKDF-Expand (RFC 5869, section 2.3) over HMAC-SHA-256 and HMAC-SHA-512.
//!
//! Written as the RFC's loop because `hkdf` refuses a pseudorandom key shorter than the hash,
//! and data keys are shorter than SHA-512. No Extract step: every input key here is uniformly
//! random already (C2SP chunked-encryption, "Rationale").

use super::CryptoError;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use zeroize::Zeroize;

/// Expands `key` to `okm.len()` bytes with SHA-256; `info` is given in pieces.
pub(crate) fn expand_sha256(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    expand::<Sha256>(key, info, okm)
}

/// Expands `key` to `okm.len()` bytes with SHA-512; `info` is given in pieces.
pub(crate) fn expand_sha512(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    expand::<Sha512>(key, info, okm)
}

fn expand<D: EagerHash>(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    let keyed = Hmac::<D>::new_from_slice(key).map_err(|_| CryptoError)?;
    let block_len = <Hmac<D> as hmac::digest::OutputSizeUser>::output_size();
    let mut previous = hmac::digest::Output::<Hmac<D>>::default();
    for (index, block) in okm.chunks_mut(block_len).enumerate() {
        let counter = u8::try_from(index.saturating_add(1)).map_err(|_| CryptoError)?;
        let mut mac = keyed.clone();
        if counter > 1 {
            mac.update(&previous);
        }
        for piece in info {
            mac.update(piece);
        }
        mac.update(&[counter]);
        previous.zeroize();
        previous = mac.finalize().into_bytes();
        let output = previous.get(..block.len()).unwrap_or_default();
        block.copy_from_slice(output);
    }
    previous.zeroize();
    Ok(())
}
