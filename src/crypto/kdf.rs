//! HKDF-Expand (RFC 5869, section 2.3) over HMAC-SHA-256 and HMAC-SHA-512.
//!
//! No Extract step: every input key here is uniformly random already (C2SP chunked-encryption,
//! "Rationale"). A key shorter than the hash, which RFC 5869 does not allow, is the key padded with
//! zeros to its length: HMAC itself pads every key to the block of the hash (RFC 2104, section 2).

use super::CryptoError;
use super::hmac::{Hmac, HmacKey, Sha256, Sha512, State};
use zeroize::ZeroizeOnDrop;

/// The hash of an expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// The longest expansion in bytes (RFC 5869).
    pub(crate) const fn max_expand_len(self) -> usize {
        255 * match self {
            Hash::Sha256 => size_of::<Sha256>(),
            Hash::Sha512 => size_of::<Sha512>(),
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
    let mut keys = ExpandKeys::new();
    keys.set_up(hash, key);
    keys.expand(hash, info, okm)
}

/// One key, set up for expansions with none, one or both of the hashes. It has no absent part, of
/// which a move would carry along what lies on the stack.
pub(crate) struct ExpandKeys {
    sha256: HmacKey<Sha256>,
    sha512: HmacKey<Sha512>,
    is_set: [bool; 2],
}

impl ExpandKeys {
    pub(crate) const fn new() -> Self {
        ExpandKeys { sha256: HmacKey::zero(), sha512: HmacKey::zero(), is_set: [false; 2] }
    }

    /// Whether the key is set up for this hash.
    pub(crate) fn has(&self, hash: Hash) -> bool {
        let [sha256, sha512] = self.is_set;
        match hash {
            Hash::Sha256 => sha256,
            Hash::Sha512 => sha512,
        }
    }

    /// Sets up `key`, which is the same in every call, unless that is done.
    pub(crate) fn set_up(&mut self, hash: Hash, key: &[u8]) {
        if self.has(hash) {
            return;
        }
        let [sha256, sha512] = &mut self.is_set;
        match hash {
            Hash::Sha256 => {
                self.sha256.set(key);
                *sha256 = true;
            }
            Hash::Sha512 => {
                self.sha512.set(key);
                *sha512 = true;
            }
        }
    }

    /// Expands the key that was set up for this hash.
    pub(crate) fn expand(
        &self,
        hash: Hash,
        info: &[&[u8]],
        okm: &mut [u8],
    ) -> Result<(), CryptoError> {
        if !self.has(hash) || okm.len() > hash.max_expand_len() {
            return Err(CryptoError);
        }
        match hash {
            Hash::Sha256 => expand_with(&self.sha256, info, okm),
            Hash::Sha512 => expand_with(&self.sha512, info, okm),
        }
        Ok(())
    }

    /// Copies another key with all that is set up for it.
    pub(crate) fn copy_from(&mut self, other: &ExpandKeys) {
        let ExpandKeys { sha256, sha512, is_set } = other;
        (self.sha256, self.sha512, self.is_set) = (*sha256, *sha512, *is_set);
    }

    pub(crate) fn wipe(&mut self) {
        self.sha256.wipe();
        self.sha512.wipe();
        self.is_set = [false; 2];
    }
}

impl Drop for ExpandKeys {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl ZeroizeOnDrop for ExpandKeys {}

fn expand_with<S: State<BLOCK>, const BLOCK: usize>(
    key: &HmacKey<S>,
    info: &[&[u8]],
    okm: &mut [u8],
) {
    let mut hmac = Hmac::new();
    let mut previous: &[u8] = &[];
    for (counter, out) in (1..=u8::MAX).zip(okm.chunks_mut(S::LEN)) {
        hmac.begin(key);
        hmac.update(previous);
        info.iter().for_each(|piece| hmac.update(piece));
        hmac.update(&[counter]);
        hmac.finish(key, out);
        previous = out;
    }
}
