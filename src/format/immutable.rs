//! The immutable core of a header, bytes 0..22, which never changes during the life of a message.

use super::{DataKeyId, FORMAT_VERSION, MAGIC, Suite, offset};
use crate::crypto::{CryptoError, compare, kdf::Hash, secret::DataKey};

/// Length of the immutable core, in bytes.
pub(crate) const CORE_LEN: usize = offset::HEADER_LEN;

/// Length of the random half of a data key id.
pub(crate) const RANDOM_LEN: usize = 8;

const CHECK_LABEL: &[u8] = b"envelock data key id v1";

/// The hash of the check, whatever the suite.
pub(crate) const CHECK_HASH: Hash = Hash::Sha256;

/// Magic, format version, suite and data key id, as bytes.
#[derive(Clone, Copy)]
pub(crate) struct ImmutableCore {
    bytes: [u8; CORE_LEN],
    suite: Suite,
}

impl ImmutableCore {
    /// Returns the core of a new message, whose data key id is `random`, then the check of `data_key`.
    pub(crate) fn generate(
        suite: Suite,
        random: [u8; RANDOM_LEN],
        data_key: &DataKey,
    ) -> Result<Self, CryptoError> {
        let check = data_key_check(suite, &random, data_key)?;
        let mut id = [0; 16];
        let (random_room, check_room) = id.split_at_mut(RANDOM_LEN);
        random_room.copy_from_slice(&random);
        check_room.copy_from_slice(&check);
        Ok(ImmutableCore::from_parts(suite, DataKeyId(id)))
    }

    /// Returns the core of this suite and this data key id.
    pub(crate) fn from_parts(suite: Suite, id: DataKeyId) -> Self {
        let mut bytes = [0; CORE_LEN];
        let (start, id_room) = bytes.split_at_mut(CORE_LEN - id.0.len());
        id_room.copy_from_slice(&id.0);
        let (magic, rest) = start.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        rest.copy_from_slice(&[FORMAT_VERSION, suite.id()]);
        ImmutableCore { bytes, suite }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; CORE_LEN] {
        &self.bytes
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn data_key_id(&self) -> DataKeyId {
        let [_, _, _, _, _, _, id @ ..] = self.bytes;
        DataKeyId(id)
    }

    /// Returns whether `data_key` has the length of the suite and, compared in constant time, the
    /// check of the data key id (SPEC K-CHECK).
    pub(crate) fn names(&self, data_key: &DataKey) -> bool {
        let DataKeyId(id) = self.data_key_id();
        let Some((random, check)) = id.split_first_chunk::<RANDOM_LEN>() else { return false };
        data_key.len() == self.suite.data_key_len()
            && data_key_check(self.suite, random, data_key)
                .is_ok_and(|derived| compare::equal(&derived, check))
    }
}

/// Returns the first 8 bytes of HKDF-Expand-SHA-256 over the data key (SPEC 4.1).
fn data_key_check(
    suite: Suite,
    random: &[u8; RANDOM_LEN],
    data_key: &DataKey,
) -> Result<[u8; 8], CryptoError> {
    let mut check = [0; 8];
    let info: [&[u8]; 3] = [CHECK_LABEL, &[FORMAT_VERSION, suite.id()], random];
    data_key.expand(CHECK_HASH, &info, &mut check)?;
    Ok(check)
}
