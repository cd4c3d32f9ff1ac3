//! The end of a message that is being encrypted.

use crate::error::Error;
use crate::format::{Header, SlotLabel};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal};
use crate::observe::{Event, Observer};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A keyring that is asked whether a slot opens, by its label.
pub(crate) trait LabelCheck: Send + Sync {
    fn label_freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError>;
}

impl<K: Keyring> LabelCheck for K {
    fn label_freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.freshness(label)
    }
}

/// Asks the keyring before the last chunk whether the message will open: a version can be disabled
/// or destroyed while the stream runs. Reports a stream that is dropped before its end.
pub(crate) struct Completion<'k> {
    keyring: Arc<dyn LabelCheck + 'k>,
    header: Vec<u8>,
    observer: Option<Arc<dyn Observer>>,
}

impl<'k> Completion<'k> {
    /// Returns the check of a message with the slots of `header`, which `keyring` wrote.
    pub(crate) fn new(
        keyring: Arc<dyn LabelCheck + 'k>,
        header: &[u8],
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Completion { keyring, header: header.to_vec(), observer }
    }

    /// Checks that the keyring still accepts each slot, by its label.
    ///
    /// A version that is compromised by now is refused too, since the caller still has the plaintext to
    /// encrypt again.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for slot in Header::parse_detached(&self.header)?.slots() {
            let refusal =
                match self.keyring.label_freshness(&slot.label).map_err(Error::from_wrap)? {
                    Freshness::Primary | Freshness::Stale => continue,
                    Freshness::Refused(refusal) => refusal,
                    Freshness::Compromised => Refusal::Compromised,
                    // The keyring no longer has its key.
                    Freshness::NotMine => Refusal::UnknownVersion,
                };
            let (key, version) = (slot.label.name.as_str().into(), slot.label.version);
            return Err(Error::StreamRefused { key, version, refusal });
        }
        Ok(())
    }

    /// Reports nothing on drop: the stream has ended, or its failure was returned.
    pub(crate) fn disarm(&mut self) {
        self.observer = None;
    }
}

impl Drop for Completion<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take() {
            observer.event(&Event::StreamUnfinished);
        }
    }
}
