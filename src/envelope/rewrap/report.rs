//! What a rewrap did with each slot.

use crate::error::BackendError;
use crate::format::MAX_SLOTS;
use crate::keyring::{KeyringError, Refusal};
use core::fmt;

/// What a rewrap did with one slot.
///
/// A slot that gave way had opened; every other stays byte for byte.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SlotOutcome {
    /// Gave way to a new slot under the primary version, which stands in its place.
    Rewrapped,
    /// Gave way without a new one: the header has a slot already that it would have become.
    Merged,
    /// Was taken out unopened: the new slot has its name, version and master key id, of which a
    /// header has one. It was damaged, or of an algorithm that the version does not have; with
    /// [`trusting_backend`](super::RewrapOptions::trusting_backend) nobody looked.
    Superseded,
    /// Stays: it opened, and is under the primary version.
    Current,
    /// Stays: it is labelled with the primary version. It was not opened, so that this is a claim.
    Labelled,
    /// Stays: another keyring's, going by its label.
    NotMine,
    /// Stays: the keyring refuses its version, or does not know it.
    Refused(Refusal),
    /// Stays: it is this keyring's, and damaged or made by somebody else.
    NotVerified,
    /// Stays: the back end failed, is throttled, or denied the call. Where
    /// [`is_retryable`](BackendError::is_retryable), the same rewrap may succeed later.
    Backend(BackendError),
}

impl SlotOutcome {
    /// Whether the data key came out of the slot.
    pub(super) fn has_opened(&self) -> bool {
        matches!(self, SlotOutcome::Rewrapped | SlotOutcome::Merged | SlotOutcome::Current)
    }

    /// Whether the slot stands in the new header as it did in the old one.
    pub(super) fn stays(&self) -> bool {
        use SlotOutcome::{Merged, Rewrapped, Superseded};
        !matches!(self, Rewrapped | Merged | Superseded)
    }

    /// Whether the slot is another keyring's.
    pub(super) fn is_not_mine(&self) -> bool {
        matches!(self, SlotOutcome::NotMine)
    }

    /// Why the slot did not open, if it did not.
    pub(super) fn failure(&self) -> Option<KeyringError> {
        match self {
            SlotOutcome::NotMine => Some(KeyringError::NotMine),
            SlotOutcome::Refused(refusal) => Some(KeyringError::Refused(*refusal)),
            SlotOutcome::NotVerified => Some(KeyringError::Authentication),
            SlotOutcome::Backend(error) => Some(KeyringError::Backend(error.clone())),
            _ => None,
        }
    }

    /// The outcome of a slot that did not open, or the error itself if it is none of a slot.
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

/// What a rewrap did, slot by slot.
///
/// One slot that does not open never keeps others from being rewrapped, so that success alone does
/// not say that every slot is under its primary version: [`is_complete`](Self::is_complete) does.
#[derive(Clone)]
#[must_use = "a slot that was left is told here alone"]
pub struct RewrapReport {
    outcomes: [SlotOutcome; MAX_SLOTS],
    count: usize,
}

impl RewrapReport {
    /// A report on `count` slots, none of them known to belong to the keyring.
    pub(super) fn new(count: usize) -> Self {
        RewrapReport { outcomes: [const { SlotOutcome::NotMine }; MAX_SLOTS], count }
    }

    pub(super) fn set(&mut self, index: usize, outcome: SlotOutcome) {
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = outcome;
        }
    }

    /// One outcome for each slot of the old header, in order.
    pub fn slots(&self) -> &[SlotOutcome] {
        self.outcomes.get(..self.count).unwrap_or(&self.outcomes)
    }

    /// Whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.slots().iter().any(|outcome| !outcome.stays())
    }

    /// Whether every slot of this keyring is under its primary version now: none was left because
    /// it is refused or denied, does not verify, or has a backend that does not answer.
    ///
    /// It says nothing of slots of other keyrings, and takes a label for true where
    /// [`went_by_labels`](Self::went_by_labels).
    pub fn is_complete(&self) -> bool {
        !self.slots().iter().any(|outcome| !outcome.is_not_mine() && outcome.failure().is_some())
    }

    /// Whether a slot was taken to be under the primary version by its label alone. Anyone who can
    /// write the header can write a label.
    pub fn went_by_labels(&self) -> bool {
        self.slots().iter().any(|outcome| matches!(outcome, SlotOutcome::Labelled))
    }
}

impl fmt::Debug for RewrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots()).finish()
    }
}
