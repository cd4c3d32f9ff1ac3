//! What a task does to one header, in memory and proven. Nothing here reads or writes a store.

mod census;
mod envelope;
mod primaries;
mod reencrypt;

pub use census::LabelCensus;
pub use envelope::EnvelopeOperation;

use crate::census::ItemFacts;
use crate::definition::{Task, VersionName};
use crate::item::ItemKey;
use crate::outcome::{Exclusion, Failure};
use crate::store::StoredHeader;
use envelock::stream::StreamEncryptor;
use envelock::{Error, OpenedKey, SlotLabel};

/// What a task does to one header.
pub trait Operation: Send + Sync {
    /// Decides what is due, by labels first, and makes the new header. A new header of the same message was
    /// verified to open.
    fn apply(&self, item: &Item<'_>) -> Verdict;

    /// Opens a header. Called for items that a killed job may have written, where a label may be half of a torn write,
    /// and for bodies that are encrypted again.
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::open`](envelock::Envelope::open).
    fn open(&self, header: &[u8]) -> Result<OpenedKey, Error>;

    /// Returns the versions that it would wrap under now.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`] or [`Error::Backend`].
    fn targets(&self) -> Result<Vec<VersionName>, Error>;

    /// Returns the versions that were primary when it judged or wrote slots under them, each with whether it is primary
    /// now. The provided method returns none: such an operation has [`targets`](Self::targets) alone.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`].
    fn primaries_seen(&self) -> Result<Vec<(VersionName, bool)>, Error> {
        Ok(Vec::new())
    }

    /// Returns whether a slot that the task writes may have this label now. A rewrap writes slots under the primary of
    /// each name, also of those that [`targets`](Self::targets) does not have.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`] or [`Error::Backend`].
    fn writes(&self, label: &SlotLabel<'_>) -> Result<bool, Error>;

    /// Returns why items under a version cannot be changed, if they cannot.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`].
    fn unreadable(&self, label: &SlotLabel<'_>) -> Result<Option<String>, Error>;

    /// Returns why the task cannot be started with these keys, if it cannot.
    fn refusal(&self, task: &Task) -> Option<String>;

    /// Returns whether [`apply`](Self::apply) counts the labels of a header and does nothing else, so that a census of labels
    /// may do so without it. The provided method returns `false`.
    fn counts_labels(&self) -> bool {
        false
    }
}

/// An item that was read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Item<'a> {
    /// The key.
    pub key: &'a ItemKey,
    /// What the store has.
    pub stored: &'a StoredHeader,
    /// Whether this job wrote this header, in this run or an earlier one, or the job that it follows did.
    pub is_written: bool,
}

impl<'a> Item<'a> {
    /// Returns an item whose header this job has not written.
    pub const fn new(key: &'a ItemKey, stored: &'a StoredHeader) -> Self {
        Item { key, stored, is_written: false }
    }
}

/// The decision about one header.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Verdict {
    /// Nothing is due.
    Current,
    /// The header is to be replaced.
    Change {
        /// The new header, verified.
        header: Vec<u8>,
        /// Why a slot was left, if one was.
        left: Option<String>,
    },
    /// The message is to be encrypted again.
    Reencrypt {
        /// The new message, without its body.
        message: Box<StreamEncryptor<'static>>,
        /// The associated data of both.
        associated_data: Vec<u8>,
    },
    /// The item was counted by a census.
    Counted(ItemFacts),
    /// It is none of the job's items.
    Excluded(Exclusion),
    /// Nothing can be done.
    Failed(Failure),
}

impl From<Error> for Verdict {
    fn from(error: Error) -> Self {
        match error {
            Error::NotEnvelock { .. } => Verdict::Excluded(Exclusion::NotEnvelock),
            error => Verdict::Failed(error.into()),
        }
    }
}

/// Returns whether a slot opens, unless a back end did not decide it. Bytes that are no header do not open.
pub(crate) fn opens(operation: &dyn Operation, header: &[u8]) -> Result<bool, Error> {
    opened(operation.open(header))
}

fn opened(opened: Result<OpenedKey, Error>) -> Result<bool, Error> {
    match opened {
        Ok(_) => Ok(true),
        Err(error @ Error::Backend(_)) => Err(error),
        Err(_) => Ok(false),
    }
}
