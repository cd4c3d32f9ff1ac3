//! What a newer file may differ in from the one that is known: a history goes on, it does not
//! begin anew.

use super::error::KeyFileError;
use crate::format::KeyVersion;
use crate::keyset::{Keyset, Keysets, VersionState};
use alloc::string::String;
use std::path::Path;

/// Checks that `new` can have come from `old` by changes, so that no version that is known, and
/// may be in use, is lost or became another.
///
/// # Errors
///
/// [`KeyFileError::RolledBack`] if `new` is older; [`KeyFileError::Diverged`] if it lacks a
/// version, has other material under its number, or one that was destroyed.
pub(super) fn check_successor(
    old: &Keysets,
    new: &Keysets,
    path: &Path,
) -> Result<(), KeyFileError> {
    let (known, found) = (old.revision(), new.revision());
    if found < known {
        let path = path.to_path_buf();
        return Err(KeyFileError::RolledBack { path, found, known });
    }
    if found == known && old == new {
        return Ok(());
    }
    for keyset in old.iter() {
        if let Some(version) = first_difference(keyset, new.keyset(keyset.name().as_str())) {
            let (path, key) = (path.to_path_buf(), String::from(keyset.name().as_str()));
            return Err(KeyFileError::Diverged { path, key, version });
        }
    }
    if found == known {
        // Two changes were made to one revision, one of them to a copy.
        let (path, key) = (path.to_path_buf(), changed_key(old, new));
        return Err(KeyFileError::Diverged { path, key, version: KeyVersion::FIRST });
    }
    Ok(())
}

fn changed_key(old: &Keysets, new: &Keysets) -> String {
    let differs = |keyset: &&Keyset| old.keyset(keyset.name().as_str()) != Some(*keyset);
    new.iter().find(differs).map(|keyset| keyset.name().as_str().into()).unwrap_or_default()
}

fn first_difference(old: &Keyset, new: Option<&Keyset>) -> Option<KeyVersion> {
    let differs = |version: &KeyVersion| {
        let (Some(old), Some(new)) = (old.version(*version), new?.version(*version)) else {
            return Some(());
        };
        let revived = old.state == VersionState::Destroyed && new.state != VersionState::Destroyed;
        // These dates are written once.
        let forgotten = old.compromised.is_some() && old.compromised != new.compromised
            || old.promoted.is_some() && old.promoted != new.promoted;
        let other = old.master_key_id != new.master_key_id || old.algorithm != new.algorithm;
        (other || revived || forgotten).then_some(())
    };
    let mut versions = old.versions().iter().map(|record| record.version);
    match new {
        None => versions.next(),
        // Numbers were given out that this history does not know.
        Some(new) if new.taken() < old.taken() => KeyVersion::new(old.taken()),
        Some(_) => versions.find(|version| differs(version).is_some()),
    }
}
