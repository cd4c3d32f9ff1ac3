//! Two records of one version, of which salvage takes one.

use crate::keyset::{KeyRecord, VersionRecord, VersionState};
use crate::time::Timestamp;

/// Which of two records of a version is the later one: the one of the later change. Where that is
/// not known whole seconds do not tell, so of two of one second the one that allows less.
pub(super) fn rank(record: &VersionRecord) -> (bool, u64, Timestamp, u8) {
    let allows_less = match record.state {
        VersionState::Primary => 0,
        VersionState::Pending => 1,
        VersionState::Enabled => 2,
        VersionState::Compromised => 3,
        VersionState::Disabled => 4,
        VersionState::DestroyScheduled => 5,
        VersionState::Destroyed => 6,
    };
    let is_destroyed = record.state == VersionState::Destroyed;
    (is_destroyed, record.changed, record.state_since, allows_less)
}

impl KeyRecord {
    /// Takes the later one of two records of a key, the numbers of both, and what keeps versions from
    /// being destroyed in either.
    pub(super) fn merge(&mut self, other: KeyRecord) {
        let (taken, floor) = (self.taken.max(other.taken), self.floor.max(other.floor));
        let evidence_required = self.evidence_required || other.evidence_required;
        let (later, earlier) = if other.changed > self.changed {
            (other, self.clone())
        } else {
            (self.clone(), other)
        };
        let hold = later.hold.or(earlier.hold);
        let evidence_waived = later.evidence_waived.or(earlier.evidence_waived);
        let changed = later.changed;
        *self = KeyRecord { taken, floor, hold, evidence_required, evidence_waived, changed };
    }
}

impl VersionRecord {
    /// Keeps what another record of the version noted for good.
    pub(super) fn keep_noted(&mut self, other: &VersionRecord) {
        self.compromised = match (self.compromised, other.compromised) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.promoted = self.promoted.or(other.promoted);
        self.last_promoted = self.last_promoted.max(other.last_promoted);
        self.hold = self.hold.take().or_else(|| other.hold.clone());
        self.evidence = self.evidence.or(other.evidence);
        self.usage.wraps = self.usage.wraps.max(other.usage.wraps);
        self.usage.bytes = self.usage.bytes.max(other.usage.bytes);
        let may_wrap = matches!(
            self.state,
            VersionState::Pending | VersionState::Primary | VersionState::Enabled
        );
        if may_wrap && self.compromised.is_some() {
            self.state = VersionState::Compromised;
        }
    }
}
