//! The states of the work on one item.

use crate::census::ItemFacts;
use crate::outcome::Outcome;
use crate::rewrite::NewBody;
use crate::store::StoredHeader;
use crate::store_error::StoreError;

/// What comes next.
#[derive(Debug)]
pub(crate) enum State {
    Read,
    Decide(StoredHeader),
    Write(Intent, Progress),
    Settle(StoredHeader, Outcome),
    Finished(Finding),
}

/// How far an intent is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Waits for the log.
    Intended,
    Replace,
    /// The store returned `written`, and the item has the header `found`, once that was read.
    ReadBack {
        written: Result<(), StoreError>,
        found: Option<Vec<u8>>,
    },
}

/// A header, and the one that is to replace it.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) stored: StoredHeader,
    pub(crate) new: Vec<u8>,
    /// The digest of `new` that the log has, once it has.
    pub(crate) digest: Option<[u8; 16]>,
    /// What the body of the new header is made with; `None` if the body stays.
    pub(crate) body: Option<NewBody>,
    pub(crate) left: Option<String>,
    /// Whether an old header is put back in the place of a torn one, so that the item is then tried again.
    pub(crate) is_repair: bool,
}

impl Intent {
    /// Returns what a store writes for it.
    pub(crate) fn written(&self) -> Written {
        match &self.body {
            Some(_) => Written::Body,
            None if self.new.len() == self.stored.header.len() => Written::SameLength,
            None => Written::OtherLength,
        }
    }

    /// Returns the intent to replace a header, of which the log knows nothing yet.
    pub(crate) fn new(stored: StoredHeader, new: Vec<u8>) -> Self {
        Intent { stored, new, digest: None, body: None, left: None, is_repair: false }
    }
}

/// What is written of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// A header that is as long as the old one.
    SameLength,
    /// A header of another length.
    OtherLength,
    /// Header and body.
    Body,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Finding {
    Outcome(Outcome),
    /// Changed, and a slot was left for this reason.
    Partly(String),
    Counted(ItemFacts),
    /// The same may end otherwise in another attempt; with the outcome if there is none.
    Again(Outcome),
    /// The store reported success and did not do it.
    Mismatch,
}
