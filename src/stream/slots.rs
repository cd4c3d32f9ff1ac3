//! The slots of a message that is being written, and the keyring that made them.

use crate::error::Error;
use crate::format::Header;
use crate::keyring::{Freshness, Keyring, Refusal};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a stream asks before it ends: a version can be disabled or destroyed while it runs.
pub(crate) struct StreamSlots<'k> {
    keyring: Arc<dyn Keyring + 'k>,
    header: Vec<u8>,
}

impl<'k> StreamSlots<'k> {
    /// The slots of `header`, which `keyring` has made.
    pub(crate) fn new(keyring: Arc<dyn Keyring + 'k>, header: &[u8]) -> Self {
        StreamSlots { keyring, header: header.to_vec() }
    }

    /// Makes sure that the keyring still takes each slot, going by its label.
    ///
    /// A version that is compromised by now is refused too: the plaintext is still at hand here,
    /// and only a new encryption would help later.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for slot in Header::parse_detached(&self.header)?.slots() {
            let refusal = match self.keyring.freshness(&slot.label).map_err(Error::from_wrap)? {
                Freshness::Primary | Freshness::Stale => continue,
                Freshness::Refused(refusal) => refusal,
                Freshness::Compromised => Refusal::Compromised,
                // Its key is gone from the keyring.
                Freshness::NotMine => Refusal::UnknownVersion,
            };
            let (key, version) = (slot.label.name.as_str().into(), slot.label.version);
            return Err(Error::StreamRefused { key, version, refusal });
        }
        Ok(())
    }
}
