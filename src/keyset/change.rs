//! Changes as data: what a keyring with a lifecycle is asked to do, and what came of it.

use super::{Operation, VersionState};
use crate::crypto::secret::MasterKey;
use crate::format::KeyVersion;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One change to the master keys of a keyring.
///
/// Wherever a key is named its alias does as well.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Makes a new master key, whose first version is its primary at once.
    CreateKey {
        /// The name: not yet a key's or an alias.
        key: &'a str,
        /// The number of its first version; [`KeyVersion::FIRST`] unless it comes from elsewhere.
        version: KeyVersion,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a version, pending: it unwraps and does not wrap, so that it can be handed to every
    /// process before the first message needs it.
    AddVersion {
        /// The master key.
        key: &'a str,
        /// Its number, above every one there was; `None` for the next.
        version: Option<KeyVersion>,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a fresh version and promotes it.
    Rotate {
        /// The master key.
        key: &'a str,
    },
    /// Takes a version to another state.
    Version {
        /// The master key.
        key: &'a str,
        /// The version.
        version: KeyVersion,
        /// The operation.
        operation: Operation,
    },
    /// Removes the records of destroyed versions, so that a key file gets smaller: of all versions up
    /// to one, which must all be destroyed. Their messages are answered as before
    /// ([`Refusal::Destroyed`](crate::keyset::Refusal::Destroyed)), their numbers stay taken, and their
    /// material is not imported again.
    RemoveRecords {
        /// The master key.
        key: &'a str,
        /// The last version of which the record goes.
        through: KeyVersion,
    },
    /// Wipes the key material of all versions of a master key, whatever their states: that of a
    /// tenant who left. Final: its messages are answered as those of destroyed versions, its name
    /// stays taken, it takes no other version, and its material is not imported again.
    ///
    /// Refused where the destruction of any version is ([`Guard`](crate::keyset::Guard)): by a hold, or for
    /// want of evidence.
    EraseKey {
        /// The master key.
        key: &'a str,
    },
    /// Has `alias` stand for `key` from now on, whatever it stood for before. A keyring that is
    /// confined to the alias still opens the messages of the keys that it stood for; of 256 at
    /// most, and it is not moved beyond.
    SetAlias {
        /// The alias: not a key's name.
        alias: &'a str,
        /// The master key.
        key: &'a str,
    },
    /// Removes an alias, which forgets the keys that it stood for.
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
    /// Holds a version, or a key with all its versions: policies leave it alone, and it is not
    /// destroyed ([`Guard::OnHold`](crate::keyset::Guard::OnHold)). An operator can do all else.
    Hold {
        /// The master key.
        key: &'a str,
        /// The version, or `None` for the key.
        version: Option<KeyVersion>,
        /// Why: at most 256 bytes without control characters.
        reason: &'a str,
    },
    /// Lifts a hold; of a version, also that an operator keeps it as it is
    /// ([`VersionRecord::kept`](crate::keyset::VersionRecord::kept)). Policies go on with it.
    Release {
        /// The master key.
        key: &'a str,
        /// The version, or `None` for the hold of the key, which leaves those of versions.
        version: Option<KeyVersion>,
    },
    /// Has the versions of a key destroyed on evidence only: under options that have the digest of a
    /// judgement ([`ChangeOptions::on_evidence`]). Else every destruction is refused, by whichever door
    /// ([`Guard::EvidenceRequired`](crate::keyset::Guard::EvidenceRequired)).
    RequireEvidence {
        /// The master key.
        key: &'a str,
    },
    /// Takes back that evidence is required. Whoever may change the key can do it; date and
    /// reason stay on record ([`Keyset::evidence_waived`](crate::keyset::Keyset::evidence_waived)).
    WaiveEvidence {
        /// The master key.
        key: &'a str,
        /// Why: at most 256 bytes without control characters.
        reason: &'a str,
    },
    /// Has every date on record of a key that is to come be now, after a change under a wrong
    /// clock. **The clock must be right**: an operator vouches for it. A destruction keeps its
    /// date; cancel it and schedule it anew.
    CorrectDates {
        /// The master key.
        key: &'a str,
    },
}

/// Where the key material of a new version comes from.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Material<'a> {
    /// The keyring makes it.
    Fresh,
    /// It is handed in; all-zero material, and such as is there already, is refused.
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

/// Under which options changes are made.
#[derive(Clone, Copy, Debug)]
pub struct ChangeOptions {
    now: Timestamp,
    unchanged_since: Option<u64>,
    evidence: Option<[u8; 32]>,
}

impl ChangeOptions {
    /// Changes made at `now`.
    pub const fn at(now: Timestamp) -> Self {
        ChangeOptions { now, unchanged_since: None, evidence: None }
    }

    /// Makes the changes only if nobody else has made one since that of the number `change`
    /// ([`KeysetMap::change`](crate::keyset::KeysetMap::change)): compare-and-swap.
    #[must_use]
    pub const fn if_unchanged_since(mut self, change: u64) -> Self {
        self.unchanged_since = Some(change);
        self
    }

    /// Has versions destroyed on evidence: on the judgement whose SHA-256 digest is `judgement`. It
    /// is kept on the record of each version that these changes destroy, for later audits.
    #[must_use]
    pub const fn on_evidence(mut self, judgement: [u8; 32]) -> Self {
        self.evidence = Some(judgement);
        self
    }

    /// The time of the changes.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of the change since which there must have been none.
    pub const fn unchanged_since(&self) -> Option<u64> {
        self.unchanged_since
    }

    /// The digest of the judgement on which versions are destroyed.
    pub const fn evidence(&self) -> Option<&[u8; 32]> {
        self.evidence.as_ref()
    }
}

/// What became of changes that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeOutcome {
    /// The number of this change.
    pub change: u64,
    /// What they came to, in order.
    pub transitions: Vec<Transition>,
}

impl ChangeOutcome {
    /// Changes that came to `transitions`.
    pub const fn new(change: u64, transitions: Vec<Transition>) -> Self {
        ChangeOutcome { change, transitions }
    }

    /// The first version that was added, if one was.
    pub fn added(&self) -> Option<KeyVersion> {
        self.transitions.iter().find_map(|transition| match transition {
            Transition::Added { version, .. } => Some(*version),
            _ => None,
        })
    }
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// A version was added, pending.
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
    /// An alias stands for another key, or for none.
    Alias {
        /// The alias.
        alias: String,
        /// The key before.
        from: Option<String>,
        /// The key now.
        to: Option<String>,
    },
    /// The records of all versions below a number were removed.
    RecordsRemoved {
        /// The master key.
        key: String,
        /// The number.
        floor: u32,
    },
    /// A master key was erased: all its versions are destroyed.
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
    /// A version or a key was held or released.
    Hold {
        /// The master key.
        key: String,
        /// The version, or `None` for the key.
        version: Option<KeyVersion>,
        /// Whether it is held now.
        is_held: bool,
    },
    /// It was changed whether versions are destroyed on evidence only.
    Evidence {
        /// The master key.
        key: String,
        /// Whether evidence is required now.
        is_required: bool,
    },
    /// Dates to come were corrected.
    Dates {
        /// The master key.
        key: String,
    },
}
