//! The report of a rewrap.

use crate::error::BackendError;
use crate::format::MAX_SLOTS;
use crate::keyring::{KeyringError, Refusal};
use core::fmt;

/// The outcome of one slot of a rewrap.
///
/// A slot that is replaced or merged had opened. Every other slot but a superseded one stays byte for byte.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SlotOutcome {
    /// Replaced in its position by a new slot under the primary version, which opens.
    Rewrapped,
    /// Replaced in its position by a new slot that the backend made under
    /// [`trusting_backend`](super::RewrapOptions::trusting_backend). Nobody has proven that it opens.
    Trusted,
    /// Removed: the header already has the slot that would replace it.
    Merged,
    /// Removed unopened, because a new slot has its name, version and master key id. It was damaged or has
    /// an algorithm that the version does not have. Under
    /// [`trusting_backend`](super::RewrapOptions::trusting_backend) it was not unwrapped.
    Superseded,
    /// Stays: it opened, and is under the primary version.
    Current,
    /// Stays: it is labelled with the primary version. It was not opened, so the label is unverified.
    Labelled,
    /// Stays: by its label it belongs to another keyring.
    NotMine,
    /// Stays: the keyring refuses its version, or does not know it.
    Refused(Refusal),
    /// Stays: it belongs to this keyring, and is damaged or forged.
    NotVerified,
    /// Stays: the back end failed, is throttled, or denied the call. If the error
    /// [`is_retryable`](BackendError::is_retryable), the same rewrap may succeed later.
    Backend(BackendError),
}

impl SlotOutcome {
    /// Returns whether the slot was unwrapped to the data key, here or by a trusted backend.
    pub(super) fn has_opened(&self) -> bool {
        self.is_replaced() || matches!(self, SlotOutcome::Merged | SlotOutcome::Current)
    }

    /// Returns whether the new header has a new slot in its place.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, SlotOutcome::Rewrapped | SlotOutcome::Trusted)
    }

    /// Returns whether the new header has the slot unchanged.
    pub(super) fn stays(&self) -> bool {
        !self.is_replaced() && !matches!(self, SlotOutcome::Merged | SlotOutcome::Superseded)
    }

    /// Returns whether the slot belongs to another keyring.
    pub(super) fn is_not_mine(&self) -> bool {
        matches!(self, SlotOutcome::NotMine)
    }

    /// Returns why the slot did not open.
    pub(super) fn failure(&self) -> Option<KeyringError> {
        match self {
            SlotOutcome::NotMine => Some(KeyringError::NotMine),
            SlotOutcome::Refused(refusal) => Some(KeyringError::Refused(*refusal)),
            SlotOutcome::NotVerified => Some(KeyringError::Authentication),
            SlotOutcome::Backend(error) => Some(KeyringError::Backend(error.clone())),
            _ => None,
        }
    }

    /// Returns the outcome of a slot that did not open, or the error if it does not concern a slot.
    pub(super) fn of_failure(error: KeyringError) -> Result<Self, KeyringError> {
        Ok(match error {
            KeyringError::NotMine => SlotOutcome::NotMine,
            KeyringError::Refused(refusal) => SlotOutcome::Refused(refusal),
            KeyringError::Authentication => SlotOutcome::NotVerified,
            KeyringError::Backend(error) => SlotOutcome::Backend(error),
            other => return Err(other),
        })
    }
}

/// The outcomes of a rewrap, slot by slot.
///
/// A slot that does not open does not prevent the rewrap of others. Success therefore does not mean that
/// every slot is under its primary version; [`is_complete`](Self::is_complete) does.
#[derive(Clone)]
#[must_use = "it reports slots that were left"]
pub struct RewrapReport {
    outcomes: [SlotOutcome; MAX_SLOTS],
    count: usize,
}

impl RewrapReport {
    /// Returns a report of `count` slots of other keyrings.
    #[inline]
    pub(super) fn new(count: usize) -> Self {
        RewrapReport { outcomes: [const { SlotOutcome::NotMine }; MAX_SLOTS], count }
    }

    pub(super) fn set(&mut self, index: usize, outcome: SlotOutcome) {
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = outcome;
        }
    }

    /// Returns the outcome of each slot of the old header, in order.
    pub fn slots(&self) -> &[SlotOutcome] {
        self.outcomes.get(..self.count).unwrap_or(&self.outcomes)
    }

    /// Returns whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.slots().iter().any(|outcome| !outcome.stays())
    }

    /// Returns whether every slot of this keyring is under its primary version now: none was left because
    /// it is refused, does not verify, or its backend failed.
    ///
    /// Slots of other keyrings do not count. If the report [`relied_on_labels`](Self::relied_on_labels), the
    /// result relies on labels.
    pub fn is_complete(&self) -> bool {
        !self.slots().iter().any(|outcome| !outcome.is_not_mine() && outcome.failure().is_some())
    }

    /// Returns whether the new header has a slot that nobody has proven
    /// ([`SlotOutcome::Trusted`]). A later read detects if it does not open.
    pub fn relied_on_backend(&self) -> bool {
        self.slots().iter().any(|outcome| matches!(outcome, SlotOutcome::Trusted))
    }

    /// Returns whether a slot counts as under the primary version by its label alone. Anyone who can
    /// write the header can write a label.
    pub fn relied_on_labels(&self) -> bool {
        self.slots().iter().any(|outcome| matches!(outcome, SlotOutcome::Labelled))
    }
}

impl fmt::Debug for RewrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots()).finish()
    }
}
