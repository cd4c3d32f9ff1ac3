//! What changes the file: always the latest state under the lock, written as a whole.

use super::error::KeyFileError;
use super::format::KeyFileFault;
use super::inner::{Inner, LastLoad};
use super::protection::Protection;
use super::protection_record::AddedProtection;
use super::reservations::PendingUsage;
use super::snapshot::{ProtectionChange, Snapshot, at};
use super::storage::Writer;
use crate::error::Error;
use crate::keyring::master_keys::NewKeys;
use crate::keyset::{Change, Changed, Terms};
use crate::random::{KeyringRng, NoRandomness};
use crate::sync::lock;
use alloc::sync::Arc;
use core::time::Duration;
use zeroize::Zeroizing;

impl Inner {
    /// Makes all of `changes`, or none.
    pub(super) fn change(
        &self,
        changes: &[Change<'_>],
        terms: &Terms,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Changed, Error> {
        let outcome = self.change_locked(changes, terms, rng);
        self.publish();
        outcome
    }

    fn change_locked(
        &self,
        changes: &[Change<'_>],
        terms: &Terms,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Changed, Error> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let last_load = lock(&self.last_load);
        let state = self.latest(&mut writer)?;
        // Nor does whoever waits for a token: while the lock is held, the file stays as it is.
        drop(last_load);
        let (mut keys, changed, new) = state.keys.with_changes(changes, terms, rng)?;
        let removed = state.keys.destroy_before_removal(&keys.keysets);
        removed.inspect_err(|_| state.keys.discard(&new))?;
        let counted = self.pending_usage(&state, false);
        counted.add_to(&mut keys.keysets);
        let next = state.with_keys(keys, &new, rng).map_err(at(self.path()));
        let written = next.and_then(|next| {
            let mut last_load = lock(&self.last_load);
            self.commit(&mut writer, &mut last_load, next, Some(&new), &counted)
        });
        written.inspect_err(|error| state.keys.discard_after(&new, error))?;
        // Still under the lock of the file, and of nothing else.
        let state = self.snapshot().clone();
        state.keys.destroy_external(changed)
    }

    /// Changes the protections of the file key.
    pub(super) fn change_protection(
        &self,
        change: &ProtectionChange<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<AddedProtection, Error> {
        let with = |state: &Snapshot| state.with_protection(change, &mut *rng);
        let (id, change) = self.protect(Some(&NewKeys::default()), with, offered(change))?;
        Ok(AddedProtection { id, change })
    }

    /// Puts the file under a fresh file key.
    pub(super) fn replace_file_key(
        &self,
        protections: &[&Protection],
        rng: &mut KeyringRng<'_>,
    ) -> Result<u64, Error> {
        let with =
            |state: &Snapshot| Ok((state.with_file_key_replaced(protections, &mut *rng)?, ()));
        // All material is sealed anew, and so opened anew before it is written.
        Ok(self.protect(None, with, protections.iter().copied())?.1)
    }

    /// Writes what `with` makes of the latest state: what came of it, and the number of the change.
    fn protect<'p, T>(
        &self,
        unproven: Option<&NewKeys>,
        with: impl FnOnce(&Snapshot) -> Result<(Snapshot, T), KeyFileFault>,
        offered: impl IntoIterator<Item = &'p Protection>,
    ) -> Result<(T, u64), Error> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let last_load = lock(&self.last_load);
        let latest = self.latest(&mut writer);
        // Nor does whoever waits for an outer keyring: while the lock is held, the file stays as
        // it is.
        drop(last_load);
        let written = latest.and_then(|state| {
            let (next, made) = with(&state).map_err(at(self.path()))?;
            let change = next.keys.keysets.change();
            let mut last_load = lock(&self.last_load);
            self.commit(&mut writer, &mut last_load, next, unproven, &PendingUsage::default())?;
            Ok((made, change))
        });
        drop(writer);
        if written.is_ok() {
            offered.into_iter().for_each(|protection| self.outer.remember(protection));
        }
        self.publish();
        Ok(written?)
    }

    /// Writes `state` with another usage.
    pub(super) fn commit_usage(
        &self,
        writer: &mut Writer<'_>,
        last_load: &mut Option<LastLoad>,
        state: &Snapshot,
        counted: &PendingUsage,
    ) -> Result<(), KeyFileError> {
        let mut keys = state.keys.clone();
        counted.add_to(&mut keys.keysets);
        let none_left = || at(self.path())(KeyFileFault::ChangeNumber);
        keys.keysets.touch().ok_or_else(none_left)?;
        let none = NewKeys::default();
        let mut rng = NoRandomness;
        let next = state.with_keys(keys, &none, &mut rng).map_err(at(self.path()))?;
        self.commit(writer, last_load, next, Some(&none), counted)
    }

    pub(super) fn writer(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        if self.options.read_only {
            return Err(KeyFileError::ReadOnly { path: self.path().to_path_buf() });
        }
        self.store.lock(wait)
    }

    /// The state of the file, which stays so while `writer` lives.
    pub(super) fn latest(&self, writer: &mut Writer<'_>) -> Result<Arc<Snapshot>, KeyFileError> {
        let loaded = writer.load()?;
        self.accept_successor(loaded.bytes())
    }

    /// Writes `new`, which has what was `counted`, and makes it the state.
    fn commit(
        &self,
        writer: &mut Writer<'_>,
        last_load: &mut Option<LastLoad>,
        mut new: Snapshot,
        unproven: Option<&NewKeys>,
        counted: &PendingUsage,
    ) -> Result<(), KeyFileError> {
        // Without a protection it is key material.
        let bytes = Zeroizing::new(new.encode(unproven).map_err(at(self.path()))?);
        writer.replace(&bytes)?;
        *last_load = None;
        let _books = lock(&self.usage_lock);
        self.install(Arc::new(new));
        counted.record();
        Ok(())
    }
}

/// The protection that a change brings.
fn offered<'p>(change: &ProtectionChange<'p>) -> Option<&'p Protection> {
    match *change {
        ProtectionChange::Add(protection) | ProtectionChange::Rewrap(_, protection) => {
            Some(protection)
        }
        ProtectionChange::Remove(_) => None,
    }
}
