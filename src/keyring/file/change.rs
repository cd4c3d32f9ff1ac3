//! Changes of the file: applied to the latest snapshot under the lock, and written as a whole.

use super::error::KeyFileError;
use super::format::KeyFileFault;
use super::keyring::FileKeyring;
use super::open_key_file::OpenKeyFile;
use super::protection::Protection;
use super::protection_record::AddedProtection;
use super::reload::LastLoad;
use super::snapshot::{ProtectionChange, Snapshot, at};
use super::storage::Writer;
use super::usage::PendingUsage;
use crate::error::Error;
use crate::format::WrapAlgorithm;
use crate::fs::FileError;
use crate::keyring::Lifecycle;
use crate::keyring::key_table::{MasterKeys, NewKeys};
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, KeyFault, Keyset, KeysetMap, LifecycleError,
    VersionRecord, VersionState,
};
use crate::random::{KeyringRng, NoRandomness};
use crate::sync::lock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::io;
use zeroize::Zeroizing;

impl Lifecycle for FileKeyring {
    fn key(&self) -> &str {
        &self.selection.key
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.open_file.reload()?;
        Ok(self.open_file.keysets_with_usage())
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        terms: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        let outcome = self.open_file.change(changes, terms, rng);
        self.open_file.publish();
        outcome
    }
}

impl OpenKeyFile {
    /// Applies all of `changes`, or none. The caller publishes the events.
    fn change(
        &self,
        changes: &[Change<'_>],
        terms: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        let (mut writer, known) = self.lock_latest()?;
        let (mut keys, changed, new) = known.keys.with_changes(changes, terms, rng)?;
        destroy_before_removal(&known.keys, &keys.keysets)
            .inspect_err(|_| known.keys.discard(&new))?;
        let pending = self.pending_usage(&known, false);
        pending.add_to(&mut keys.keysets);
        known
            .with_keys(keys, &new, rng)
            .map_err(at(self.path()))
            .and_then(|next| {
                let mut last_load = lock(&self.last_load);
                self.commit(&mut writer, &mut last_load, next, Some(&new), &pending)
            })
            .inspect_err(|error| discard_after(&known.keys, &new, error))?;
        // Still under the lock of the file, and no other lock.
        let snapshot = self.snapshot().clone();
        destroy_recorded(&snapshot.keys, changed)
    }

    /// Adds, rewraps or removes a protection of the file key.
    pub(super) fn change_protection(
        &self,
        change: &ProtectionChange<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<AddedProtection, Error> {
        let with = |known: &Snapshot| known.with_protection(change, &mut *rng);
        let added = match *change {
            ProtectionChange::Add(new) | ProtectionChange::Rewrap(_, new) => Some(new),
            ProtectionChange::Remove(_) => None,
        };
        let (id, change) = self.protect(Some(&NewKeys::default()), with, added)?;
        Ok(AddedProtection { id, change })
    }

    /// Replaces the file key.
    pub(super) fn replace_file_key(
        &self,
        protections: &[&Protection],
        rng: &mut KeyringRng<'_>,
    ) -> Result<u64, Error> {
        let with =
            |known: &Snapshot| Ok((known.with_file_key_replaced(protections, &mut *rng)?, ()));
        // All material is sealed again, so all of it is opened again before the write.
        Ok(self.protect(None, with, protections.iter().copied())?.1)
    }

    /// Commits what `with` makes of the latest snapshot. Returns its second value and the change
    /// number.
    fn protect<'p, T>(
        &self,
        unproven: Option<&NewKeys>,
        with: impl FnOnce(&Snapshot) -> Result<(Snapshot, T), KeyFileFault>,
        added: impl IntoIterator<Item = &'p Protection>,
    ) -> Result<(T, u64), Error> {
        let written = self.lock_latest().and_then(|(mut writer, known)| {
            let (next, value) = with(&known).map_err(at(self.path()))?;
            let change = next.keys.keysets.change();
            let mut last_load = lock(&self.last_load);
            self.commit(&mut writer, &mut last_load, next, unproven, &PendingUsage::default())?;
            Ok((value, change))
        });
        if written.is_ok() {
            added.into_iter().for_each(|protection| self.outer.add(protection));
        }
        self.publish();
        Ok(written?)
    }

    /// Commits `known` with the `pending` usage.
    pub(super) fn commit_usage(
        &self,
        writer: &mut Writer<'_>,
        last_load: &mut Option<LastLoad>,
        known: &Snapshot,
        pending: &PendingUsage,
    ) -> Result<(), KeyFileError> {
        let mut keys = known.keys.clone();
        pending.add_to(&mut keys.keysets);
        let none_left = || at(self.path())(KeyFileFault::ChangeNumber);
        keys.keysets.touch().ok_or_else(none_left)?;
        let none = NewKeys::default();
        let next = known.with_keys(keys, &none, &mut NoRandomness).map_err(at(self.path()))?;
        self.commit(writer, last_load, next, Some(&none), pending)
    }

    pub(super) fn writer(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        if self.options.read_only {
            return Err(self.read_only_error());
        }
        self.store.lock(wait)
    }

    /// Loads and installs the content of the file. No other writer changes it while `writer` lives.
    pub(super) fn latest(&self, writer: &mut Writer<'_>) -> Result<Arc<Snapshot>, KeyFileError> {
        let loaded = writer.load()?;
        self.accept_successor(loaded.bytes())
    }

    /// Locks the file for a change. Threads that poll wait neither for another process, nor for the
    /// token or outer keyring that the change may need.
    fn lock_latest(&self) -> Result<(Writer<'_>, Arc<Snapshot>), KeyFileError> {
        let mut writer = self.writer(self.options.lock_wait)?;
        let _last_load = lock(&self.last_load);
        let latest = self.latest(&mut writer)?;
        Ok((writer, latest))
    }

    /// Returns the latest snapshot, and the lock under which it stays that; of a file that this process may not lock,
    /// the one that was loaded last.
    pub(super) fn lock_to_copy(&self) -> Result<(Option<Writer<'_>>, Arc<Snapshot>), KeyFileError> {
        match self.writer(self.options.lock_wait) {
            Ok(mut writer) => {
                let _last_load = lock(&self.last_load);
                let latest = self.latest(&mut writer)?;
                Ok((Some(writer), latest))
            }
            Err(error) if is_not_allowed(&error) => Ok((None, self.snapshot().clone())),
            Err(error) => Err(error),
        }
    }

    /// Writes and installs `new`, which includes the `pending` usage.
    fn commit(
        &self,
        writer: &mut Writer<'_>,
        last_load: &mut Option<LastLoad>,
        mut new: Snapshot,
        unproven: Option<&NewKeys>,
        pending: &PendingUsage,
    ) -> Result<(), KeyFileError> {
        // Unprotected, the bytes are key material.
        let bytes = Zeroizing::new(new.encode(unproven).map_err(at(self.path()))?);
        writer.replace(&bytes)?;
        *last_load = None;
        let _guard = lock(&self.usage_lock);
        self.install(Arc::new(new));
        pending.mark_recorded();
        Ok(())
    }
}

/// Returns whether `error` means that this process may not lock the file: it has no permission, or the medium takes no
/// writes or no locks. Another error can come from a file that other processes change.
fn is_not_allowed(error: &KeyFileError) -> bool {
    match error {
        KeyFileError::ReadOnly { .. } | KeyFileError::File(FileError::NoLocks { .. }) => true,
        KeyFileError::File(FileError::Io { source, .. }) => matches!(
            source.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        ),
        _ => false,
    }
}

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
