//! The record of one version. It holds nothing secret.

use super::{
    ChangeOptions, Hold, Labels, MAX_CLOCK_SKEW, MAX_DESTRUCTION_DELAY, Operation, VersionState,
};
use crate::format::{KeyVersion, MasterKeyId, WrapAlgorithm, index_bytes};
use crate::time::Timestamp;
use alloc::boxed::Box;
use core::fmt;

/// The record of one version of a master key. It holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionRecord {
    /// The version.
    pub version: KeyVersion,
    /// The id of its key material.
    pub master_key_id: MasterKeyId,
    /// Its wrap algorithm, which never changes.
    pub algorithm: WrapAlgorithm,
    /// The origin of its key material.
    pub origin: Origin,
    /// Its state. The primary is [`VersionState::Primary`].
    pub state: VersionState,
    /// When it entered that state.
    pub state_since: Timestamp,
    /// When it was added.
    pub created: Timestamp,
    /// When it was first promoted. A rollback does not change it.
    pub promoted: Option<Timestamp>,
    /// When it was last promoted, if known. The age of a primary counts from here.
    pub last_promoted: Option<Timestamp>,
    /// When it was marked compromised. Later states do not change it.
    pub compromised: Option<Timestamp>,
    /// When its scheduled destruction is due.
    pub destroy_at: Option<Timestamp>,
    /// When an operator enabled it again or cancelled its destruction. No policy changes its state then.
    /// Another state clears it, and so does
    /// [`Change::Release`](crate::keyset::Change::Release).
    pub kept: Option<Timestamp>,
    /// The hold on the version: no policy changes it, and it is not destroyed.
    pub hold: Option<Hold>,
    /// The SHA-256 digest of the judgement for its destruction. Boxed, so that `None` has no uninitialised
    /// payload bytes, in which a move could carry a piece of a key to the heap.
    pub evidence: Option<Box<[u8; 32]>>,
    /// How many data keys and bytes it protects, as far as known.
    pub usage: Usage,
    /// Whether the wraps of [`usage`](Self::usage) include reservations and so are an upper bound.
    /// Otherwise they are a lower bound.
    pub is_reserved: bool,
    /// The labels of the operator.
    pub labels: Labels,
    /// The number of the last change of this record, usage excluded, or 0 if unknown, as in a key file
    /// that was not changed since format version 1.
    pub changed: u64,
}

impl VersionRecord {
    /// Returns bytes 25..37 of a header whose slot 0 is under this version:
    /// [`SlotLabel::index_bytes`](crate::SlotLabel::index_bytes).
    pub fn index_bytes(&self) -> [u8; 12] {
        index_bytes(self.version, self.master_key_id)
    }

    /// Returns the record of a pending version added at `now`, without usage and labels.
    pub fn new(version: KeyVersion, material: NewMaterial, now: Timestamp) -> Self {
        let NewMaterial { master_key_id, algorithm, origin } = material;
        VersionRecord {
            version,
            master_key_id,
            algorithm,
            origin,
            state: VersionState::Pending,
            state_since: now,
            created: now,
            promoted: None,
            last_promoted: None,
            compromised: None,
            destroy_at: None,
            kept: None,
            hold: None,
            evidence: None,
            usage: Usage::default(),
            is_reserved: false,
            labels: Labels::default(),
            changed: 0,
        }
    }

    /// Restores the invariants of a stored record.
    pub(super) fn normalize(&mut self) {
        self.enforce_compromise();
        self.last_promoted = self.last_promoted.max(self.promoted);
    }

    /// Sets the dates of `operation` at `now`.
    pub(super) fn record_operation(
        &mut self,
        operation: Operation,
        options: &ChangeOptions,
        now: Timestamp,
    ) {
        match operation {
            Operation::Promote => {
                self.promoted.get_or_insert(now);
                self.last_promoted = Some(self.state_since);
            }
            Operation::MarkCompromised => self.compromised = Some(now),
            Operation::ScheduleDestruction { after } => self.destroy_at = Some(now.plus(after)),
            Operation::CancelDestruction => {
                self.destroy_at = None;
                self.kept = Some(now);
            }
            Operation::Destroy | Operation::DestroyImmediately => {
                self.destroy_at = None;
                self.evidence = options.evidence().copied().map(Box::new);
            }
            Operation::Enable => self.kept = Some(now),
            Operation::Disable => {}
        }
    }

    /// Keeps a version with a date of compromise out of the states that lead to the primary.
    // FORMAT F-COMPROMISED
    pub(crate) fn enforce_compromise(&mut self) {
        use VersionState::{Compromised, Enabled, Pending, Primary};
        if self.compromised.is_some() && matches!(self.state, Pending | Primary | Enabled) {
            self.state = Compromised;
        }
    }

    pub(super) fn enter(&mut self, state: VersionState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.state_since = now;
            self.kept = None;
        }
    }

    pub(super) fn newest_date(&self) -> Timestamp {
        let others = [self.promoted, self.last_promoted, self.compromised, self.kept];
        others.into_iter().flatten().fold(self.created.max(self.state_since), Timestamp::max)
    }

    /// Returns a date that is further ahead of `now` than [`MAX_CLOCK_SKEW`] allows.
    pub(crate) fn future_date(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.plus(MAX_CLOCK_SKEW);
        let due = self.destroy_at.filter(|due| *due > latest.plus(MAX_DESTRUCTION_DELAY));
        Some(self.newest_date()).filter(|newest| *newest > latest).or(due)
    }
}

/// The description of the key material of a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "keyrings of other crates make it")]
pub struct NewMaterial {
    /// The id of the material.
    pub master_key_id: MasterKeyId,
    /// Its wrap algorithm, which never changes.
    pub algorithm: WrapAlgorithm,
    /// Its origin.
    pub origin: Origin,
}

/// The origin of key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The keyring drew it from a random generator.
    Generated,
    /// The caller supplied it: copies may exist.
    Imported,
    /// A token generated it and does not export it.
    Token,
}

impl Origin {
    /// Returns the name of the origin in key files.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Generated => "generated",
            Origin::Imported => "imported",
            Origin::Token => "token",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many data keys and bytes a version protects, as far as known.
///
/// A statistic and usually a lower bound: a killed process loses the counts that it did not write.
/// With [`VersionRecord::is_reserved`] wraps are reserved ahead, so that none is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two counters")]
pub struct Usage {
    /// Data keys wrapped, rewraps included.
    pub wraps: u64,
    /// Plaintext bytes under those data keys, as far as the length was known at the wrap.
    pub bytes: u64,
}

impl Usage {
    /// Returns the sum of wraps and of bytes, at most `u64::MAX` each.
    #[must_use]
    pub const fn plus(self, other: Usage) -> Self {
        Usage {
            // Saturates: a statistic.
            wraps: self.wraps.saturating_add(other.wraps),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns the difference of wraps and of bytes, at least zero each.
    #[must_use]
    pub const fn minus(self, other: Usage) -> Self {
        Usage {
            // Saturates: a statistic that decreased counts as zero.
            wraps: self.wraps.saturating_sub(other.wraps),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}
