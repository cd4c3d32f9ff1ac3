//! Argon2id (RFC 9106), version 0x13: a key from a passphrase, at a cost.

use super::CryptoError;
use super::secret::MasterKey;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// Derives 32 bytes from `passphrase` and `salt`, taking `memory_kib` KiB of memory, which are
/// wiped. The caller has bounded the cost.
///
/// Fails for a cost that RFC 9106 does not have, and where the memory is not to be had.
pub(crate) fn derive(
    passphrase: &[u8],
    salt: &[u8],
    [memory_kib, passes, lanes]: [u32; 3],
) -> Result<MasterKey, CryptoError> {
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| CryptoError)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.as_mut_slice())
        .map_err(|_| CryptoError)?;
    Ok(MasterKey::from_bytes(&key))
}
