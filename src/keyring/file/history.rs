//! Whether a file continues the history of the loaded one.

use super::error::KeyFileError;
use crate::format::KeyVersion;
use crate::keyset::{Keyset, KeysetMap, VersionRecord, VersionState};
use crate::time::Timestamp;
use std::path::Path;

/// Checks that changes can lead from `old` to `new`: no known change is undone, and no version that
/// may be in use is lost or has other material. Usage is ignored.
///
/// # Errors
///
/// [`KeyFileError::RolledBack`] if `new` has fewer changes; [`KeyFileError::Diverged`] if it lacks a
/// version, has other or destroyed material under its number, or if a record differs that has not
/// changed since the last known change.
pub(super) fn check_successor(
    old: &KeysetMap,
    new: &KeysetMap,
    path: &Path,
) -> Result<(), KeyFileError> {
    let (known, found) = (old.change(), new.change());
    if found < known {
        let path = path.to_path_buf();
        return Err(KeyFileError::RolledBack { path, found, known });
    }
    match first_lost(old, new).or_else(|| first_other(old, new)) {
        Some((key, version)) => {
            Err(KeyFileError::Diverged { path: path.to_path_buf(), key: key.into(), version })
        }
        None => Ok(()),
    }
}

/// The first version of `old` that `new` cannot have.
fn first_lost<'k>(old: &'k KeysetMap, new: &KeysetMap) -> Option<(&'k str, KeyVersion)> {
    old.iter().find_map(|keyset| {
        let name = keyset.name().as_str();
        let new = new.keyset(name);
        Some((name, first_difference(keyset, new)?))
    })
}

fn first_difference(old: &Keyset, new: Option<&Keyset>) -> Option<KeyVersion> {
    let Some(new) = new else { return old.versions().first().map(|record| record.version) };
    if new.highest_version() < old.highest_version() {
        // This history does not know the highest numbers.
        return KeyVersion::new(old.highest_version());
    }
    // A removed record or an erased key does not return.
    let is_revived =
        new.floor() < old.floor() || old.erased().is_some() && old.erased() != new.erased();
    if new.changed() < old.changed() || is_revived {
        return Some(KeyVersion::FIRST);
    }
    let differs = |old: &&VersionRecord| {
        let Some(new) = new.version(old.version) else {
            return old.version.number() >= new.floor();
        };
        let was = old.changed;
        let revived = old.state == VersionState::Destroyed && new.state != VersionState::Destroyed;
        // These dates are written once, and only corrected to earlier ones.
        let is_forgotten = |old: Option<Timestamp>, date: Option<Timestamp>| match (old, date) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(date)) => date > old || date < old && new.changed <= was,
        };
        let forgotten = is_forgotten(old.compromised, new.compromised)
            || is_forgotten(old.promoted, new.promoted);
        let other = old.master_key_id != new.master_key_id || old.algorithm != new.algorithm;
        other || revived || forgotten || new.changed < old.changed
    };
    old.versions().iter().find(differs).map(|record| record.version)
}

/// The first record of `new` that differs from `old` and has not changed since the last change of
/// `old`: a copy of the file was changed.
fn first_other<'k>(old: &KeysetMap, new: &'k KeysetMap) -> Option<(&'k str, KeyVersion)> {
    let known = old.change();
    // A file of format version 1 does not record the change of each record.
    let is_same_change = new.change() == known;
    let must_be_known = |changed: u64| is_same_change || (1..=known).contains(&changed);
    for keyset in new.iter() {
        let name = keyset.name().as_str();
        let before = old.keyset(name);
        if must_be_known(keyset.changed()) && before.is_none_or(|it| !it.is_same_key(keyset)) {
            return Some((name, KeyVersion::FIRST));
        }
        for record in keyset.versions().iter().filter(|record| must_be_known(record.changed)) {
            let before = before.and_then(|before| before.version(record.version));
            if !before.is_some_and(|before| is_same(before, record)) {
                return Some((name, record.version));
            }
        }
    }
    let mut others = new.alias_records().iter().filter(|alias| {
        let before = old.alias(&alias.name);
        let is_other = before.is_none_or(|before| !before.is_same(alias));
        alias.changed < old.alias_changed(&alias.name) || must_be_known(alias.changed) && is_other
    });
    if let Some(alias) = others.next() {
        return Some((&alias.name, KeyVersion::FIRST));
    }
    let is_short = is_same_change
        && (old.iter().len(), old.aliases().len()) != (new.iter().len(), new.aliases().len());
    is_short
        .then(|| (new.iter().next().map_or("", |keyset| keyset.name().as_str()), KeyVersion::FIRST))
}

/// Whether two records of a version differ in usage alone.
fn is_same(one: &VersionRecord, other: &VersionRecord) -> bool {
    let usage = one.usage;
    one == other || *one == VersionRecord { usage, ..other.clone() }
}
