//! Holds: what keeps policies off a version or a key.

use super::labels::{LabelFault, is_value};
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::string::String;

/// Keeps policies, and the erasure of a key, off a version or off all versions of a key.
///
/// Boxed, so that a record without one has no room for one: what lay on the stack would be moved along in
/// it (`tests/residue/main.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold(Box<Note>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    since: Timestamp,
    reason: String,
}

impl Hold {
    /// A hold since `since` for `reason`: at most 256 bytes without control characters.
    ///
    /// # Errors
    ///
    /// [`LabelFault::Value`].
    pub fn new(since: Timestamp, reason: &str) -> Result<Self, LabelFault> {
        if is_value(reason) {
            Ok(Hold(Box::new(Note { since, reason: reason.into() })))
        } else {
            Err(LabelFault::Value)
        }
    }

    /// Since when it stands.
    pub fn since(&self) -> Timestamp {
        self.0.since
    }

    /// Why it stands.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}
