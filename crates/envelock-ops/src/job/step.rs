//! What a driver does next, and how a job ends.

use super::scan::Scan;
use crate::breaker::Outage;
use crate::header_bytes::SLOTS_OFFSET;
use crate::item::ItemKey;
use crate::report::Report;
use crate::stage::StageReport;
use crate::store::{Expected, Replaced, Store, StoredHeader, Token};
use crate::store_error::StoreError;
use crate::work::Work;
use envelock::inspect;
use std::time::Duration;

/// What a driver does next, and which method of the [`Job`](crate::Job) takes the result.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Step {
    /// List items: [`Job::listed`](crate::Job::listed).
    List {
        /// The exclusive lower bound.
        after: Option<ItemKey>,
        /// How many, at most.
        most: usize,
    },
    /// List headers and count them, with [`Scan::run`]: [`Job::scanned`](crate::Job::scanned).
    Scan(Scan),
    /// Run the work, here or on another thread: [`Job::done`](crate::Job::done), or
    /// [`Job::panicked`](crate::Job::panicked).
    Work(Box<Work>),
    /// Try whether the store compares before it replaces: [`Job::probed`](crate::Job::probed).
    Probe(Probe),
    /// Append to the undo log, durably: [`Job::appended`](crate::Job::appended).
    Append(Vec<u8>),
    /// Write the failures at this offset of their file and cut off what follows, durably; then replace the checkpoint
    /// atomically and durably: [`Job::saved`](crate::Job::saved).
    Save {
        /// The offset in the file of failures.
        failures_at: u64,
        /// The lines to be written there.
        failures: Vec<u8>,
        /// The whole checkpoint.
        checkpoint: Vec<u8>,
    },
    /// Decide whether to go on after a stage: [`Job::decide`](crate::Job::decide).
    Gate(StageReport),
    /// Wait for work to be done, or until this time if it is given; then ask again.
    Wait {
        /// The time, as a duration since 1970.
        until: Option<Duration>,
    },
    /// The job has ended.
    Done(End),
}

/// A replacement under a condition that does not hold. It would write what is there already, so that a store that
/// ignores conditions is found and nothing is changed.
#[derive(Debug)]
pub struct Probe {
    item: ItemKey,
    stored: StoredHeader,
}

impl Probe {
    pub(crate) fn new(item: ItemKey, stored: StoredHeader) -> Self {
        Probe { item, stored }
    }

    /// Makes the call.
    ///
    /// # Errors
    ///
    /// That of [`Store::replace`].
    pub fn run(&self, store: &dyn Store) -> Result<Replaced, StoreError> {
        let mut other = self.stored.header.clone();
        // The last byte of the first wrapped key, so that it is a header of the same message.
        let slot_end = inspect(&other)
            .ok()
            .and_then(|header| header.slots().next().map(|slot| SLOTS_OFFSET + slot.encoded_len()));
        let at = slot_end.unwrap_or(other.len()).saturating_sub(1);
        match other.get_mut(at) {
            Some(byte) => *byte ^= 1,
            None => other.push(1),
        }
        let expected = Expected { header: &other, token: &Token::default() };
        store.replace(&self.item, expected, &self.stored.header)
    }
}

/// How a job ended.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum End {
    /// Every item was dealt with. The counts say how.
    Finished(Box<Report>),
    /// The job was stopped. A later run resumes it.
    Stopped(Box<Report>),
    /// The job halted by itself. A later run resumes it, once the reason is gone.
    Halted {
        /// The reason.
        why: Halt,
        /// The report so far.
        report: Box<Report>,
    },
}

impl End {
    /// Returns the report.
    pub fn report(&self) -> &Report {
        match self {
            End::Finished(report) | End::Stopped(report) | End::Halted { report, .. } => report,
        }
    }
}

/// Why a job halted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// The items were not listed.
    #[error("items cannot be listed: {0}")]
    Listing(StoreError),
    /// The store listed keys that do not ascend, or one twice.
    #[error("the store listed {0} out of order: repair the store")]
    Order(ItemKey),
    /// The store returned an empty page that is not the last.
    #[error("the store returned an empty page that is not the last: repair the store")]
    NoProgress,
    /// The keyring cannot be read.
    #[error("the keyring cannot be read: {0}")]
    Keyring(envelock::Error),
    /// A version that is to be primary is not any more.
    #[error("{0} is not primary any more: plan a new job")]
    Target(crate::VersionName),
    /// The undo log or the checkpoint was not written. Nothing was changed without a record.
    #[error("the records of the job cannot be written: {0}")]
    Records(String),
    /// The store replaced a header under a condition that did not hold. The header is what it was.
    #[error(
        "the store ignores conditions, so that work of other writers would be lost: repair the store"
    )]
    NoCompareAndSwap,
    /// The store reported success and did not write, or wrote something else.
    #[error("{0} does not have the header that the store reported as written: examine the store")]
    Mismatch(ItemKey),
    /// More items fail than the job tolerates.
    #[error("{failures} of {items} items failed: read the list of failures, then resume")]
    FailureRate {
        /// The failed items of this run.
        failures: u64,
        /// The changed, current and failed items of this run.
        items: u64,
    },
    /// Most items of this run were gone when they were read. The job halts so once; resumed, it goes on.
    #[error("{gone} of {items} items are gone: see whether the source is whole, then resume")]
    Gone {
        /// The items that were gone.
        gone: u64,
        /// The items of this run that were read.
        items: u64,
    },
    /// Fewer items were listed than there were when the job began, by more than a tenth.
    #[error(
        "{listed} items were listed, and there were {total}: see whether the source is whole, then run a new job"
    )]
    Missing {
        /// The items that were listed.
        listed: u64,
        /// The items that were counted when the job began.
        total: u64,
    },
    /// It was decided not to go on after a stage.
    #[error("not released after {0}")]
    Stage(StageReport),
    /// As many items were changed as the limits allow.
    #[error("{0} items were changed, as many as the budget allows: raise it, then resume")]
    Budget(u64),
    /// Another item could cost more than the limits allow.
    #[error(
        "{spent} billionths were spent, and another item can cost more than the limit allows: raise it, then resume"
    )]
    Spend {
        /// What the calls have cost.
        spent: u64,
    },
    /// A back end was away for longer than the limits allow.
    #[error("the {} is away for {seconds} s: {}", outage.back_end, outage.why)]
    Outage {
        /// The outage.
        outage: Outage,
        /// How long it lasted when the job halted.
        seconds: u64,
    },
    /// The counts do not add up, which is a fault of this library.
    #[error("the counts do not add up: report this, and take a census")]
    Counts,
}

impl Halt {
    /// Returns whether the same job may go on later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Halt::Listing(error) => error.is_retryable(),
            Halt::Keyring(error) => error.is_retryable(),
            Halt::Outage { .. } => true,
            _ => false,
        }
    }
}
