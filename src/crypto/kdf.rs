//! HKDF-Expand (RFC 5869, section 2.3) over HMAC-SHA-256 and HMAC-SHA-512.
//!
//! No Extract step: every input key here is uniformly random already (C2SP chunked-encryption,
//! "Rationale").

use super::CryptoError;
use hkdf::{GenericHkdf, HmacImpl};
use hmac::Hmac;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

/// The longest output of a hash here: that of SHA-512.
const MAX_HASH_LEN: usize = 64;

/// HKDF-Expand with one hash: key, info in pieces, output.
pub(crate) type Expand = fn(&[u8], &[&[u8]], &mut [u8]) -> Result<(), CryptoError>;

/// Expands `key` to `okm.len()` bytes with SHA-256; `info` is given in pieces.
pub(crate) fn expand_sha256(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    expand::<Hmac<Sha256>, 32>(key, info, okm)
}

/// Expands `key` to `okm.len()` bytes with SHA-512; `info` is given in pieces.
pub(crate) fn expand_sha512(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    expand::<Hmac<Sha512>, 64>(key, info, okm)
}

/// A key shorter than the hash is padded with zeros to its length, as HMAC itself pads every key to
/// the block of the hash (RFC 2104, section 2): the same key, of a length that RFC 5869 asks for.
fn expand<H: HmacImpl, const HASH_LEN: usize>(
    key: &[u8],
    info: &[&[u8]],
    okm: &mut [u8],
) -> Result<(), CryptoError> {
    const { assert!(HASH_LEN <= MAX_HASH_LEN, "a padded key has room for the hash") };
    let mut padded = Zeroizing::new([0; HASH_LEN]);
    let prk = match padded.get_mut(..key.len()) {
        Some(start) => {
            start.copy_from_slice(key);
            padded.as_slice()
        }
        None => key,
    };
    let expand = GenericHkdf::<H>::from_prk(prk).map_err(|_| CryptoError)?;
    expand.expand_multi_info(info, okm).map_err(|_| CryptoError)
}
