//! Data keys that serve for several messages: the interface between the core and their bounds.

use crate::crypto::secret::DataKey;
use crate::envelope::refused_primary;
use crate::error::Error;
use crate::format::{
    ImmutableCore, KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel, Suite, WrapAlgorithm,
};
use crate::keyring::{Freshness, Keyring, KeyringError, SlotWriter};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bounds how much one data key protects, and keeps the keys that may serve again.
pub(crate) trait ReuseKeys: Send + Sync {
    /// Finds the data key of a message of this kind and length of plaintext. Waits while another
    /// thread wraps it.
    ///
    /// # Errors
    ///
    /// Those of the wrap that it waited for.
    fn find(
        &self,
        kind: BatchKind,
        plaintext_len: u64,
        keyring: &dyn Keyring,
    ) -> Result<Found<'_>, FailedWrap>;
}

/// The part that the messages of one data key share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchKind {
    pub(crate) suite: Suite,
    /// Whether the wrap was verified.
    pub(crate) is_verified: bool,
}

/// Why a wrap failed, and after how many slots.
#[derive(Clone)]
pub(crate) struct FailedWrap {
    pub(crate) error: KeyringError,
    pub(crate) slots: usize,
}

impl FailedWrap {
    /// Returns the error of the message that wrapped, for the messages that waited.
    pub(crate) fn into_error(self, keyring: &dyn Keyring) -> Error {
        match self.error {
            KeyringError::Refused(refusal) => {
                refused_primary(keyring, refusal, |at, _| at == self.slots)
            }
            error => Error::from_wrap(error),
        }
    }
}

/// The data key that a message gets.
pub(crate) enum Found<'r> {
    /// A wrapped key, under the present primary.
    Wrapped(Arc<ReusableKey>),
    /// A fresh one that others wait for.
    First(Box<dyn FirstWrap + 'r>),
    /// A fresh one of its own.
    Alone,
}

/// The first wrap of a data key that others wait for. If it is dropped, one of these tries.
pub(crate) trait FirstWrap {
    /// Bytes that earlier keys protected and that no wrap has counted yet.
    fn uncounted(&self) -> u64;

    /// Reports the result of the wrap to the waiting messages.
    fn end(self: Box<Self>, wrapped: Result<Arc<ReusableKey>, FailedWrap>);
}

/// A data key with its core, and the slots of its one wrap.
pub(crate) struct ReusableKey {
    core: ImmutableCore,
    /// In one place until it is wiped.
    data_key: Box<DataKey>,
    slots: Arc<WrittenSlots>,
}

impl ReusableKey {
    /// Copies a data key that was wrapped into `slots`, and sets it up for the bodies to come.
    pub(crate) fn new(
        core: &ImmutableCore,
        data_key: &DataKey,
        slots: &SlotWriter<'_>,
    ) -> Arc<Self> {
        let mut copy = Box::new(DataKey::empty());
        copy.copy_from(data_key);
        copy.set_up(core.suite().hash());
        let slots = Arc::new(WrittenSlots(slots.slots().map(OwnedSlot::from).collect()));
        Arc::new(ReusableKey { core: *core, data_key: copy, slots })
    }

    pub(crate) fn core(&self) -> &ImmutableCore {
        &self.core
    }

    pub(crate) fn data_key(&self) -> &DataKey {
        &self.data_key
    }

    pub(crate) fn slots(&self) -> &Arc<WrittenSlots> {
        &self.slots
    }
}

/// The slots of one wrap. Nothing of them is secret.
pub(crate) struct WrittenSlots(Vec<OwnedSlot>);

impl WrittenSlots {
    /// Whether `keyring` would write slots of the same labels now, each under a primary that is in
    /// good standing.
    pub(crate) fn is_current(&self, keyring: &dyn Keyring) -> Result<bool, KeyringError> {
        let mut labels = self.0.iter().map(OwnedSlot::label);
        let mut same = true;
        keyring.visit_primaries(&mut |primary| same &= labels.next() == Some(primary.label))?;
        if !same || labels.next().is_some() {
            return Ok(false);
        }
        for slot in &self.0 {
            if keyring.freshness(&slot.label())? != Freshness::Primary {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the slots of another wrap have the same labels.
    pub(crate) fn has_labels_of(&self, other: &WrittenSlots) -> bool {
        self.0.iter().map(OwnedSlot::label).eq(other.0.iter().map(OwnedSlot::label))
    }

    pub(crate) fn push(&self, slots: &mut SlotWriter<'_>) -> Result<(), KeyringError> {
        self.0.iter().try_for_each(|slot| slots.push(&slot.label(), &slot.wrapped_key))
    }
}

/// A slot as a keyring wrote it.
struct OwnedSlot {
    name: String,
    version: KeyVersion,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
    wrapped_key: Vec<u8>,
}

impl OwnedSlot {
    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }
}

impl From<Slot<'_>> for OwnedSlot {
    fn from(slot: Slot<'_>) -> Self {
        OwnedSlot {
            name: slot.label.name.as_str().into(),
            version: slot.label.version,
            master_key_id: slot.label.master_key_id,
            algorithm: slot.label.algorithm,
            wrapped_key: slot.wrapped_key.to_vec(),
        }
    }
}
