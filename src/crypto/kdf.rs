//! HKDF-Expand (RFC 5869, section 2.3) over HMAC-SHA-256 and HMAC-SHA-512.
//!
//! No Extract step: every input key here is uniformly random already (C2SP chunked-encryption,
//! "Rationale").

use super::CryptoError;
use alloc::sync::Arc;
use hkdf::{GenericHkdf, HmacImpl, InvalidPrkLength};
use hmac::Hmac;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

/// The longest output of a hash here: that of SHA-512.
const MAX_HASH_LEN: usize = 64;

type ExpandSha256 = GenericHkdf<Hmac<Sha256>>;
type ExpandSha512 = GenericHkdf<Hmac<Sha512>>;

/// The hash of an expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// The longest expansion in bytes (RFC 5869).
    #[cfg(feature = "hazmat")]
    pub(crate) const fn max_expand_len(self) -> usize {
        255 * match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }
}

/// Expands `key` to `okm.len()` bytes with SHA-256; `info` is given in pieces.
pub(crate) fn expand_sha256(key: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), CryptoError> {
    expand(Hash::Sha256, key, info, okm)
}

/// Expands `key` to `okm.len()` bytes; `info` is given in pieces.
///
/// # Errors
///
/// The output is longer than 255 hashes.
pub(crate) fn expand(
    hash: Hash,
    key: &[u8],
    info: &[&[u8]],
    okm: &mut [u8],
) -> Result<(), CryptoError> {
    match hash {
        Hash::Sha256 => expand_once(&set_up_sha256(key), info, okm),
        Hash::Sha512 => expand_once(&set_up_sha512(key), info, okm),
    }
}

/// By reference: a move would copy what was hashed of the key.
fn expand_once<H: HmacImpl>(
    set_up: &Result<GenericHkdf<H>, InvalidPrkLength>,
    info: &[&[u8]],
    okm: &mut [u8],
) -> Result<(), CryptoError> {
    let set_up = set_up.as_ref().map_err(|_| CryptoError)?;
    set_up.expand_multi_info(info, okm).map_err(|_| CryptoError)
}

fn set_up_sha256(key: &[u8]) -> Result<ExpandSha256, InvalidPrkLength> {
    set_up::<_, 32>(key)
}

fn set_up_sha512(key: &[u8]) -> Result<ExpandSha512, InvalidPrkLength> {
    set_up::<_, 64>(key)
}

/// Hashes the two blocks that depend on the key alone.
///
/// A key shorter than the hash is padded with zeros to its length, as HMAC itself pads every key to
/// the block of the hash (RFC 2104, section 2): the same key, of a length that RFC 5869 asks for.
fn set_up<H: HmacImpl, const HASH_LEN: usize>(
    key: &[u8],
) -> Result<GenericHkdf<H>, InvalidPrkLength> {
    const { assert!(HASH_LEN <= MAX_HASH_LEN, "a padded key has room for the hash") };
    let mut padded = Zeroizing::new([0; HASH_LEN]);
    let prk = match padded.get_mut(..key.len()) {
        Some(start) => {
            start.copy_from_slice(key);
            padded.as_slice()
        }
        None => key,
    };
    GenericHkdf::from_prk(prk)
}

/// One key, set up for many expansions with none, one or both of the hashes.
///
/// On the heap, where moves leave no copy, and shared by the copies of a key: the last one wipes it.
#[derive(Clone)]
pub(crate) struct ExpandKeys {
    sha256: Option<Arc<ExpandSha256>>,
    sha512: Option<Arc<ExpandSha512>>,
}

impl ExpandKeys {
    pub(crate) const fn new() -> Self {
        ExpandKeys { sha256: None, sha512: None }
    }

    /// Sets up `key`, which is the same in every call, unless that is done.
    pub(crate) fn set_up(&mut self, hash: Hash, key: &[u8]) {
        match hash {
            Hash::Sha256 if self.sha256.is_none() => {
                self.sha256 = set_up_sha256(key).ok().map(Arc::new);
            }
            Hash::Sha512 if self.sha512.is_none() => {
                self.sha512 = set_up_sha512(key).ok().map(Arc::new);
            }
            Hash::Sha256 | Hash::Sha512 => {}
        }
    }

    /// Expands what was set up; `None` if this hash was not.
    pub(crate) fn expand(
        &self,
        hash: Hash,
        info: &[&[u8]],
        okm: &mut [u8],
    ) -> Option<Result<(), CryptoError>> {
        let expanded = match hash {
            Hash::Sha256 => self.sha256.as_ref()?.expand_multi_info(info, okm),
            Hash::Sha512 => self.sha512.as_ref()?.expand_multi_info(info, okm),
        };
        Some(expanded.map_err(|_| CryptoError))
    }
}
