//! 32 bytes of key material, sealed under a key of the file.

use super::json;
use crate::crypto::secret::{MASTER_KEY_LEN, MasterKey};
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, Xaes};
use crate::random::{KeyringRng, RandomnessUnavailable};
use core::fmt;
use zeroize::Zeroizing;

/// Length of sealed key material: nonce, ciphertext, tag.
const SEALED_LEN: usize = NONCE_LEN + MASTER_KEY_LEN + TAG_LEN;

/// Sealed key material.
pub(super) type Sealed = [u8; SEALED_LEN];

/// The id of a key file: drawn at its creation, and the same for its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFileId(pub [u8; 16]);

impl fmt::Display for KeyFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&json::to_hex(&self.0))
    }
}

impl fmt::Debug for KeyFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFileId({self})")
    }
}

/// Seals `key` under a random nonce.
#[expect(clippy::expect_used, reason = "32 bytes are within the limits of the cipher")]
pub(super) fn seal(
    cipher: &Xaes,
    aad: &[u8],
    key: &MasterKey,
    rng: &mut KeyringRng<'_>,
) -> Result<Sealed, RandomnessUnavailable> {
    let (mut nonce, mut ciphertext) = ([0; NONCE_LEN], [0; MASTER_KEY_LEN]);
    rng.try_fill_bytes(&mut nonce).map_err(RandomnessUnavailable::of)?;
    let tag = cipher.encrypt(&nonce, aad, key.expose(), &mut ciphertext).expect("32 bytes");
    let parts = nonce.into_iter().chain(ciphertext).chain(tag);
    let mut sealed = [0; SEALED_LEN];
    sealed.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    Ok(sealed)
}

/// Opens sealed key material.
pub(super) fn unseal(cipher: &Xaes, aad: &[u8], sealed: &Sealed) -> Option<MasterKey> {
    let (nonce, rest) = sealed.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    let mut key = Zeroizing::new([0; MASTER_KEY_LEN]);
    cipher.decrypt(nonce, aad, ciphertext, key.as_mut_slice(), tag).ok()?;
    Some(MasterKey::from_bytes(&key))
}
