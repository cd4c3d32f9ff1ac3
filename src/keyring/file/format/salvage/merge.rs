//! Several intact records of one key, version or alias, and the keysets of the new file.

use super::super::Unknown;
use super::super::decode::keep;
use super::super::fault::{RecordFault, RecordName};
use super::{AliasLine, Damaged};
use crate::keyset::{
    Alias, EvidenceRule, KeyRecord, Keyset, MAX_FORMER_KEYS, VersionRecord, VersionState,
};
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The order of two records of a version: the later change ranks higher. Where changes are unknown,
/// whole seconds can be equal, and the state that allows less ranks higher.
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

/// Of two records of a key the later one, with the numbers of both, and what keeps versions from
/// being destroyed in either.
pub(super) fn merge_keys(one: &mut KeyRecord, other: KeyRecord) {
    let (highest_version, floor) =
        (one.highest_version.max(other.highest_version), one.floor.max(other.floor));
    let required = [one.evidence, other.evidence].contains(&EvidenceRule::Required);
    let erased = one.erased.or(other.erased);
    // In one history the list of the higher floor includes the other one.
    let removed = if one.floor < other.floor { &other.removed } else { &one.removed }.clone();
    let (later, earlier) =
        if other.changed > one.changed { (&other, &*one) } else { (&*one, &other) };
    *one = KeyRecord {
        highest_version,
        floor,
        removed,
        erased,
        hold: later.hold.clone().or_else(|| earlier.hold.clone()),
        evidence: EvidenceRule::new(required),
        evidence_waived: later.evidence_waived.clone().or_else(|| earlier.evidence_waived.clone()),
        changed: later.changed,
    };
}

/// Adds the keys of another record of the alias to `former`: of too many the last ones.
pub(super) fn merge_former(alias: &mut Alias, other: &Alias) {
    let mut former = other.former.clone();
    former.push(other.key.clone());
    former.retain(|key| *key != alias.key && !alias.former.contains(key));
    former.append(&mut alias.former);
    // Saturates: fewer than the most are all kept.
    former.drain(..former.len().saturating_sub(MAX_FORMER_KEYS));
    alias.former = former;
}

/// Keeps what another record of the version has for good.
pub(super) fn merge_versions(one: &mut VersionRecord, other: &VersionRecord) {
    one.compromised = match (one.compromised, other.compromised) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    one.promoted = one.promoted.or(other.promoted);
    one.last_promoted = one.last_promoted.max(other.last_promoted);
    one.hold = one.hold.take().or_else(|| other.hold.clone());
    one.evidence = one.evidence.take().or_else(|| other.evidence.clone());
    one.usage.wraps = one.usage.wraps.max(other.usage.wraps);
    one.usage.bytes = one.usage.bytes.max(other.usage.bytes);
    one.enforce_compromise();
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
