//! Key material outside of the file, on a token: what a change of the file does to it.

use super::error::KeyFileError;
use crate::error::Error;
use crate::format::WrapAlgorithm;
use crate::fs::FileError;
use crate::keyring::key_table::{MasterKeys, NewKeys};
use crate::keyset::{
    ChangeOutcome, KeyFault, Keyset, KeysetMap, LifecycleError, VersionRecord, VersionState,
};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Discards the material of a change that `error` kept from being written. A change that may have
/// been written keeps its material.
pub(super) fn discard_after(keys: &MasterKeys, new: &NewKeys, error: &KeyFileError) {
    if !matches!(error, KeyFileError::File(FileError::NotDurable { .. })) {
        keys.discard(new);
    }
}

fn records(keysets: &KeysetMap) -> impl Iterator<Item = (&Keyset, &VersionRecord)> {
    let all = keysets.iter().flat_map(|it| it.versions().iter().map(move |record| (it, record)));
    all.filter(|(_, record)| record.algorithm != WrapAlgorithm::XAES_256_GCM)
}

/// Destroys the material of all versions whose records are destroyed, once `changed` is written.
///
/// # Errors
///
/// [`LifecycleError::NotDestroyed`].
pub(super) fn destroy_recorded(
    keys: &MasterKeys,
    changed: ChangeOutcome,
) -> Result<ChangeOutcome, Error> {
    let due = records(&keys.keysets).filter(|(_, it)| it.state == VersionState::Destroyed);
    let mut due = due.map(|(keyset, record)| (keyset.name(), record)).peekable();
    if due.peek().is_none() {
        return Ok(changed);
    }
    match keys.source().destroy(&mut due) {
        Ok(()) => Ok(changed),
        Err(source) => {
            Err(LifecycleError::NotDestroyed { changed: Box::new(changed), source }.into())
        }
    }
}

/// Destroys the material of the versions whose records `next` removes, while the records exist to
/// find it by.
///
/// # Errors
///
/// [`KeyFault::RecordNeeded`] if the same change destroys and removes a version; the errors of the
/// source.
pub(super) fn destroy_before_removal(keys: &MasterKeys, next: &KeysetMap) -> Result<(), Error> {
    let is_removed = |(keyset, record): &(&Keyset, &VersionRecord)| {
        let left = next.keyset(keyset.name().as_str()).and_then(|it| it.version(record.version));
        left.is_none()
    };
    let removed: Vec<_> = records(&keys.keysets).filter(is_removed).collect();
    for (keyset, record) in &removed {
        let (version, state) = (record.version, record.state);
        if state != VersionState::Destroyed {
            let fault = KeyFault::RecordNeeded { version, state };
            let key = keyset.name().as_str().into();
            return Err(LifecycleError::Key { key, fault }.into());
        }
    }
    if removed.is_empty() {
        return Ok(());
    }
    let mut removed = removed.into_iter().map(|(keyset, record)| (keyset.name(), record));
    Ok(keys.source().destroy(&mut removed)?)
}
