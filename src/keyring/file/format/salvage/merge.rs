//! Several records of one thing, of which salvage takes one, and what a file is made of.

use super::super::Unknown;
use super::super::decode::keep;
use super::super::fault::{RecordFault, RecordName};
use super::{AliasLine, Damaged};
use crate::keyset::{
    Alias, KeyRecord, Keyset, KeysetMap, MAX_FORMER_KEYS, VersionRecord, VersionState,
};
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

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
        let (highest_version, floor) =
            (self.highest_version.max(other.highest_version), self.floor.max(other.floor));
        let evidence_required = self.evidence_required || other.evidence_required;
        let erased = self.erased.or(other.erased);
        // One history: the list of the higher floor has what the other one has.
        let is_shorter = self.floor < other.floor;
        let removed = if is_shorter { other.removed.clone() } else { self.removed.clone() };
        let (later, earlier) = if other.changed > self.changed {
            (other, self.clone())
        } else {
            (self.clone(), other)
        };
        let hold = later.hold.or(earlier.hold);
        let evidence_waived = later.evidence_waived.or(earlier.evidence_waived);
        let changed = later.changed;
        *self = KeyRecord {
            highest_version,
            floor,
            removed,
            erased,
            hold,
            evidence_required,
            evidence_waived,
            changed,
        };
    }
}

impl Alias {
    /// Keeps the keys that another record of the alias stood for: of too many the last ones.
    pub(super) fn keep_former(&mut self, other: &Alias) {
        let mut former = other.former.clone();
        former.push(other.key.clone());
        former.retain(|key| *key != self.key && !self.former.contains(key));
        former.append(&mut self.former);
        former.drain(..former.len().saturating_sub(MAX_FORMER_KEYS));
        self.former = former;
    }
}

impl VersionRecord {
    /// Has the material destroyed, as that of every version of an erased key is.
    pub(super) fn forget(&mut self) {
        (self.state, self.destroy_at) = (VersionState::Destroyed, None);
    }

    /// Keeps what another record of the version noted for good.
    pub(super) fn keep_noted(&mut self, other: &VersionRecord) {
        self.compromised = match (self.compromised, other.compromised) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.promoted = self.promoted.or(other.promoted);
        self.last_promoted = self.last_promoted.max(other.last_promoted);
        self.hold = self.hold.take().or_else(|| other.hold.clone());
        self.evidence = self.evidence.take().or_else(|| other.evidence.clone());
        self.usage.wraps = self.usage.wraps.max(other.usage.wraps);
        self.usage.bytes = self.usage.bytes.max(other.usage.bytes);
        self.heed_compromise();
    }
}

/// A master key of the new file.
#[expect(clippy::expect_used, reason = "in order, below the highest number, with one primary")]
pub(super) fn keyset(name: &str, key: KeyRecord, versions: Vec<VersionRecord>) -> Keyset {
    Keyset::of_records(name, key, versions).expect("versions were sorted and bounded")
}

/// The master keys and aliases of the new file.
#[expect(clippy::expect_used, reason = "no name twice, and each alias stands for a key")]
pub(super) fn restored(
    revision: u64,
    change: u64,
    keysets: Vec<Keyset>,
    aliases: Vec<Alias>,
) -> KeysetMap {
    KeysetMap::of_records(revision, change, keysets, aliases).expect("names were checked")
}

/// The aliases whose key is there.
pub(super) fn aliases(
    found: BTreeMap<String, AliasLine>,
    keysets: &[Keyset],
    unknown: &mut Unknown,
    damaged: &mut Vec<Damaged>,
) -> Vec<Alias> {
    let keys: BTreeSet<_> = keysets.iter().map(|keyset| keyset.name().as_str()).collect();
    let is_key = |name: &str| keys.contains(name);
    let mut aliases = Vec::new();
    for (name, AliasLine { line, alias, extra }) in found {
        let what = match () {
            () if is_key(&name) => RecordFault::Misplaced,
            () if !is_key(&alias.key) => RecordFault::UnknownKey,
            () => {
                keep(&mut unknown.aliases, &name, extra);
                aliases.push(alias);
                continue;
            }
        };
        damaged.push(Damaged { line, record: RecordName::Alias { name }, what });
    }
    aliases
}
