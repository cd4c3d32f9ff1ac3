//! Changes of master keys as data, their options and their outcome.

use super::{Operation, VersionState};
use crate::crypto::secret::MasterKey;
use crate::format::KeyVersion;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One change to the master keys of a keyring.
///
/// A key can be named by an alias.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Creates a master key. Its first version is the primary.
    CreateKey {
        /// The name, which no key and no alias has.
        key: &'a str,
        /// The number of its first version: [`KeyVersion::FIRST`] unless the key is imported.
        version: KeyVersion,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a pending version: it unwraps and does not wrap, so that every process has it before the
    /// first message needs it.
    AddVersion {
        /// The master key.
        key: &'a str,
        /// Its number, above every number ever used, or `None` for the next.
        version: Option<KeyVersion>,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a fresh version and promotes it.
    Rotate {
        /// The master key.
        key: &'a str,
    },
    /// Applies an operation to a version.
    Version {
        /// The master key.
        key: &'a str,
        /// The version.
        version: KeyVersion,
        /// The operation.
        operation: Operation,
    },
    /// Removes the records of all versions up to one, which must all be destroyed, so that the key file
    /// gets smaller. Their messages are refused as before
    /// ([`Refusal::Destroyed`](crate::keyset::Refusal::Destroyed)), their numbers are not reused, and
    /// their material cannot be imported again.
    RemoveRecords {
        /// The master key.
        key: &'a str,
        /// The last version whose record is removed.
        through: KeyVersion,
    },
    /// Wipes the key material of all versions of a master key in any state, such as the key of a former
    /// tenant. Final: its messages are refused as those of destroyed versions, its name is not reused, no
    /// version can be added, and its material cannot be imported again.
    ///
    /// Refused if a [`Guard`](crate::keyset::Guard) refuses the destruction of a version.
    EraseKey {
        /// The master key.
        key: &'a str,
    },
    /// Makes `alias` an alias of `key`. A keyring that is confined to the alias still opens the messages
    /// of its former keys. An alias has at most 256 former keys; a further change fails.
    SetAlias {
        /// The alias, which no key has as its name.
        alias: &'a str,
        /// The master key.
        key: &'a str,
    },
    /// Removes an alias with its former keys.
    RemoveAlias {
        /// The alias.
        alias: &'a str,
    },
    /// Sets a label of a version, or removes it.
    SetLabel {
        /// The master key.
        key: &'a str,
        /// The version.
        version: KeyVersion,
        /// The name of the label.
        name: &'a str,
        /// The value, or `None` to remove it.
        value: Option<&'a str>,
    },
    /// Puts a version, or a key with all its versions, on hold: policies do not change it, and it is not
    /// destroyed ([`Guard::OnHold`](crate::keyset::Guard::OnHold)). Other operations stay possible.
    Hold {
        /// The master key.
        key: &'a str,
        /// The version, or `None` for the key.
        version: Option<KeyVersion>,
        /// The reason: at most 256 bytes without control characters.
        reason: &'a str,
    },
    /// Lifts a hold, so that policies apply again. For a version it also clears
    /// [`VersionRecord::kept`](crate::keyset::VersionRecord::kept).
    Release {
        /// The master key.
        key: &'a str,
        /// The version, or `None` for the hold of the key. Holds of versions stay then.
        version: Option<KeyVersion>,
    },
    /// Requires evidence for every destruction of a version of a key
    /// ([`ChangeOptions::on_evidence`]). A destruction without evidence is refused
    /// ([`Guard::EvidenceRequired`](crate::keyset::Guard::EvidenceRequired)).
    RequireEvidence {
        /// The master key.
        key: &'a str,
    },
    /// Waives the required evidence. Every process that may change the key can do so. Date and reason
    /// stay on record ([`Keyset::evidence_waived`](crate::keyset::Keyset::evidence_waived)).
    WaiveEvidence {
        /// The master key.
        key: &'a str,
        /// The reason: at most 256 bytes without control characters.
        reason: &'a str,
    },
    /// Sets every date on record of a key that is after the present to the present, after a change under
    /// a wrong clock. **The clock must be right.** Scheduled destructions keep their dates; cancel and
    /// schedule them again.
    CorrectDates {
        /// The master key.
        key: &'a str,
    },
}

/// The source of the key material of a new version.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Material<'a> {
    /// The keyring generates it.
    Fresh,
    /// The caller supplies it. All-zero material and material on record are refused.
    Imported(&'a MasterKey),
}

impl fmt::Debug for Material<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Fresh => "Fresh",
            Material::Imported(_) => "Imported",
        })
    }
}

/// Options of a change.
#[derive(Clone, Copy, Debug)]
pub struct ChangeOptions {
    now: Timestamp,
    unchanged_since: Option<u64>,
    evidence: Option<[u8; 32]>,
}

impl ChangeOptions {
    /// Returns options for a change at `now`.
    pub const fn at(now: Timestamp) -> Self {
        ChangeOptions { now, unchanged_since: None, evidence: None }
    }

    /// Makes the changes only if `change` is the number of the last change
    /// ([`KeysetMap::change`](crate::keyset::KeysetMap::change)): compare-and-swap.
    #[must_use]
    pub const fn if_unchanged_since(mut self, change: u64) -> Self {
        self.unchanged_since = Some(change);
        self
    }

    /// Supplies evidence for destructions: the SHA-256 digest of the judgement. The record of each
    /// version that the changes destroy keeps it for audits.
    #[must_use]
    pub const fn on_evidence(mut self, judgement: [u8; 32]) -> Self {
        self.evidence = Some(judgement);
        self
    }

    /// Returns the time of the change.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the change number that the keyring must be at.
    pub const fn unchanged_since(&self) -> Option<u64> {
        self.unchanged_since
    }

    /// Returns the SHA-256 digest of the judgement.
    pub const fn evidence(&self) -> Option<&[u8; 32]> {
        self.evidence.as_ref()
    }
}

/// The outcome of completed changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeOutcome {
    /// The number of this change.
    pub change: u64,
    /// The transitions, in order.
    pub transitions: Vec<Transition>,
}

impl ChangeOutcome {
    /// Returns the outcome of change `change` with `transitions`.
    pub const fn new(change: u64, transitions: Vec<Transition>) -> Self {
        ChangeOutcome { change, transitions }
    }

    /// Returns the first version that was added.
    pub fn added(&self) -> Option<KeyVersion> {
        self.transitions.iter().find_map(|transition| match transition {
            Transition::Added { version, .. } => Some(*version),
            _ => None,
        })
    }
}

/// One effect of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// A pending version was added.
    Added {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A version changed its state.
    State {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The state before.
        from: VersionState,
        /// The state now.
        to: VersionState,
    },
    /// An alias was set or removed.
    Alias {
        /// The alias.
        alias: String,
        /// The key before, if there was one.
        from: Option<String>,
        /// The key now, if there is one.
        to: Option<String>,
    },
    /// The records of all versions below a number were removed.
    RecordsRemoved {
        /// The master key.
        key: String,
        /// The number.
        floor: u32,
    },
    /// A master key was erased. All its versions are destroyed.
    Erased {
        /// The master key.
        key: String,
    },
    /// A label was set or removed.
    Label {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A version or a key was put on hold or released.
    Hold {
        /// The master key.
        key: String,
        /// The version, or `None` for the key.
        version: Option<KeyVersion>,
        /// Whether it is on hold now.
        is_held: bool,
    },
    /// Evidence was required or waived.
    Evidence {
        /// The master key.
        key: String,
        /// Whether evidence is required now.
        is_required: bool,
    },
    /// Dates in the future were corrected.
    Dates {
        /// The master key.
        key: String,
    },
}
