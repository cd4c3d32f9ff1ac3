//! The outcome of one item, and the sums over many.

use crate::store_error::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happened to one item. Each item of a listing has exactly one outcome.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Outcome {
    /// Its header was changed, or would be in a dry run.
    Changed,
    /// Nothing was due.
    Current,
    /// It does not belong to the job.
    Excluded(Exclusion),
    /// Another writer changed it in each attempt. A later run finds what that writer left.
    Conflict,
    /// It was deleted after it was listed.
    Gone,
    /// It was named by the caller, and did not exist when it was first read. Counted as gone, and left.
    Absent,
    /// It stays as it was, for this reason.
    Failed(Failure),
}

/// Why an item does not belong to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exclusion {
    /// It does not begin with envelock's magic.
    #[error("not an envelock message")]
    NotEnvelock,
    /// By their labels, all slots belong to other keyrings.
    #[error("no slot is of this keyring, by the labels")]
    OtherKeyring,
    /// It is a symbolic link, which is not followed: the message is counted where it lies, if that is in the source.
    #[error("a symbolic link, which is not followed")]
    Link,
    /// The undo log has no old header for the present one: the job did not write it.
    #[error("the undo log has no old header for the present one")]
    NotInLog,
}

/// Why an item failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The header was not read or not changed, for a reason of its bytes or of the keyring.
    #[error(transparent)]
    Envelope(#[from] envelock::Error),
    /// The store did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A slot of this keyring does not open, so that the header stays stale.
    #[error("a slot of this keyring was left: {0}")]
    SlotLeft(String),
    /// The store reported success, and the item has neither the new header nor one of another writer.
    #[error("the store reported success, and the header that was read back is not the new one")]
    Mismatch,
    /// It is unknown whether the header is whole: the store failed after it began to write. A job with the undo log
    /// of this one as [`Start::earlier`](crate::Start::earlier) repairs it, as a restore does.
    #[error("the header may be damaged, retry with the undo log of this job: {0}")]
    Unsettled(String),
    /// The medium has no room for the new header.
    #[error(
        "no room for a header of {needed} bytes: encrypt the message again with more reserved room"
    )]
    NoRoom {
        /// The length of the new header.
        needed: usize,
    },
    /// The old header does not open any more, so it is not restored.
    #[error("the old header does not open: enable the version that it was wrapped under")]
    OldHeader,
    /// The undo log has the header of a body that was encrypted again, and the old body is not there any more.
    #[error("the body was encrypted again, which an undo log does not undo")]
    Reencrypted,
    /// The message has a slot of a name that the new one would lack, so that its holder could not read it any more.
    #[error(
        "the new message would have no slot of {0:?}: encrypt with a keyring that has it, or remove the name first"
    )]
    NameLost(String),
    /// The work of this item panicked twice.
    #[error("the work of this item panicked: {0}")]
    Panicked(String),
}

impl Failure {
    /// Returns whether another attempt soon may succeed: the store or the back end of the keys failed, not the item.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Failure::Envelope(
                error @ (envelock::Error::Backend(_) | envelock::Error::Randomness(_)),
            ) => error.is_retryable(),
            Failure::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Returns whether fewer calls are asked for.
    pub(crate) fn is_throttled(&self) -> bool {
        use envelock::BackendFailure::Throttled;
        match self {
            Failure::Envelope(envelock::Error::Backend(error)) => {
                matches!(error.failure(), Throttled { .. })
            }
            Failure::Store(error) => error.is_throttled(),
            _ => false,
        }
    }

    /// Returns whether the same work may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Failure::Envelope(error) => error.is_retryable(),
            Failure::Store(error) => error.is_retryable(),
            Failure::Mismatch | Failure::Unsettled(_) | Failure::Panicked(_) => true,
            _ => false,
        }
    }
}

/// How many items had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tally {
    /// The items that were listed and belong to the shard.
    pub listed: u64,
    /// [`Outcome::Changed`]: rewrapped, for example.
    pub changed: u64,
    /// [`Outcome::Current`].
    pub current: u64,
    /// [`Outcome::Excluded`].
    pub excluded: u64,
    /// [`Outcome::Conflict`].
    pub conflict: u64,
    /// [`Outcome::Gone`] and [`Outcome::Absent`].
    pub gone: u64,
    /// [`Outcome::Failed`].
    pub failed: u64,
    /// Of the excluded items, those with [`Exclusion::NotEnvelock`].
    #[serde(default)]
    pub not_envelock: u64,
    /// Those with [`Exclusion::OtherKeyring`].
    #[serde(default)]
    pub other_keyring: u64,
    /// Those with [`Exclusion::Link`].
    #[serde(default)]
    pub links: u64,
    /// Those with [`Exclusion::NotInLog`]: they keep their headers, so a restore has left them.
    #[serde(default)]
    pub not_in_log: u64,
    /// Of the gone items, those with [`Outcome::Absent`].
    #[serde(default)]
    pub absent: u64,
    /// Of the changed items, those of which a slot was left because it does not open.
    pub partly: u64,
    /// Of the changed items, those whose new slots a key service has made and nobody has proven
    /// ([`SlotOutcome::Trusted`](envelock::SlotOutcome::Trusted)).
    #[serde(default)]
    pub trusted: u64,
}

impl Tally {
    /// Counts an outcome.
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Changed => &mut self.changed,
            Outcome::Current => &mut self.current,
            Outcome::Excluded(_) => &mut self.excluded,
            Outcome::Conflict => &mut self.conflict,
            Outcome::Gone | Outcome::Absent => &mut self.gone,
            Outcome::Failed(_) => &mut self.failed,
        };
        *counter += 1;
        match outcome {
            Outcome::Excluded(Exclusion::NotEnvelock) => self.not_envelock += 1,
            Outcome::Excluded(Exclusion::OtherKeyring) => self.other_keyring += 1,
            Outcome::Excluded(Exclusion::Link) => self.links += 1,
            Outcome::Excluded(Exclusion::NotInLog) => self.not_in_log += 1,
            Outcome::Absent => self.absent += 1,
            _ => {}
        }
    }

    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            listed: self.listed + other.listed,
            changed: self.changed + other.changed,
            current: self.current + other.current,
            excluded: self.excluded + other.excluded,
            conflict: self.conflict + other.conflict,
            gone: self.gone + other.gone,
            failed: self.failed + other.failed,
            not_envelock: self.not_envelock + other.not_envelock,
            other_keyring: self.other_keyring + other.other_keyring,
            links: self.links + other.links,
            not_in_log: self.not_in_log + other.not_in_log,
            partly: self.partly + other.partly,
            trusted: self.trusted + other.trusted,
            absent: self.absent + other.absent,
        }
    }

    /// Returns whether every listed item has exactly one outcome.
    pub fn is_balanced(&self) -> bool {
        let Tally { changed, current, excluded, conflict, gone, failed, .. } = *self;
        changed + current + excluded + conflict + gone + failed == self.listed
    }

    /// Returns how many items are left: those that failed or were in conflict, those that were changed in part, those
    /// that a restore does not know, and those that were named and did not exist.
    pub fn left(&self) -> u64 {
        self.conflict + self.failed + self.partly + self.not_in_log + self.absent
    }

    /// Returns whether no item is left.
    pub fn is_complete(&self) -> bool {
        self.left() == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { listed, changed, current, excluded, conflict, gone, failed, .. } = *self;
        let Tally { partly, trusted, .. } = *self;
        write!(
            f,
            "changed {changed} + current {current} + excluded {excluded} + conflict {conflict} \
             + gone {gone} + failed {failed} = listed {listed}"
        )?;
        if partly > 0 {
            write!(f, "; {partly} of the changed have a slot that does not open")?;
        }
        if trusted > 0 {
            write!(f, "; {trusted} of the changed are trusted, and not proven")?;
        }
        Ok(())
    }
}
