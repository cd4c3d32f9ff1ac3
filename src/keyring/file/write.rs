//! What changes the file: always the latest state under the lock, written as a whole.

use super::error::KeyFileError;
use super::protection::Protection;
use super::shared::{Seen, Shared};
use super::state::{State, at};
use super::writer::Writer;
use crate::error::Error;
use crate::keyring::KeyringError;
use crate::keyring::held::HeldKey;
use crate::keyring::master_keys::{MasterKeys, NewKeys};
use crate::keyset::{Change, Changed, Keyset, Terms, Usage};
use crate::random::{KeyringRng, NoRandomness};
use crate::sync::lock;
use alloc::sync::Arc;
use core::time::Duration;
use std::time::Instant;
use zeroize::Zeroizing;

/// How long the last handle waits for another writer when it gives back what it did not use.
const LAST_WAIT: Duration = Duration::from_millis(200);

impl Shared {
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
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let (keys, changed, new) = state.keys.with_changes(changes, terms, rng)?;
        let next = state.with_keys(keys, &new, rng).map_err(at(self.path()));
        let written = next.and_then(|it| self.write(&mut writer, &mut seen, it, Some(&new)));
        written.inspect_err(|error| state.keys.discard_after(&new, error))?;
        // Still under the lock: no other process's change comes between.
        self.state().clone().keys.destroy_material()?;
        Ok(changed)
    }

    /// Puts the file under another protection.
    pub(super) fn change_protection(
        &self,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), Error> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let next = state.protected_anew(protection, rng).map_err(at(self.path()))?;
        self.write(&mut writer, &mut seen, next, None)?;
        Ok(())
    }

    /// Makes sure that what `key` was used for is counted in the file.
    pub(super) fn account(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let counts = self.options.count_usage && !self.options.read_only;
        if !counts || !self.state().is_writable() || self.allowances.missing(key).is_none() {
            return Ok(());
        }
        let outcome = self.take_block(key);
        self.publish();
        outcome.map_err(KeyringError::unavailable)
    }

    fn take_block(&self, key: &dyn HeldKey) -> Result<(), KeyFileError> {
        let asked = Instant::now();
        let mut taking = lock(&self.taking);
        // Another thread may have taken one meanwhile, or waited for all of us in vain.
        let Some(block) = self.allowances.missing(key) else { return Ok(()) };
        if let Some((_, error)) = taking.as_ref().filter(|(failed, _)| *failed >= asked) {
            return Err(error.clone());
        }
        let outcome = self.take(key, block);
        *taking = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        outcome
    }

    fn take(&self, key: &dyn HeldKey, block: Usage) -> Result<(), KeyFileError> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let mut keys = state.keys.clone();
        let mut records = keys.keysets.iter_mut().flat_map(Keyset::versions_mut);
        if let Some(record) = records.find(|record| record.master_key_id == key.id()) {
            record.usage = record.usage.plus(block);
        }
        drop(records);
        self.write_usage(&mut writer, &mut seen, &state, keys)?;
        self.allowances.take(key.id(), block);
        Ok(())
    }

    fn write_usage(
        &self,
        writer: &mut Writer<'_>,
        seen: &mut Option<Seen>,
        state: &State,
        mut keys: MasterKeys,
    ) -> Result<(), KeyFileError> {
        keys.keysets.touch();
        let none = NewKeys::default();
        let mut rng = NoRandomness;
        let next = state.with_keys(keys, &none, &mut rng).map_err(at(self.path()))?;
        self.write(writer, seen, next, Some(&none))
    }

    fn writer(&self, wait: Duration) -> Result<Writer<'_>, KeyFileError> {
        if self.options.read_only {
            return Err(KeyFileError::ReadOnly { path: self.path().to_path_buf() });
        }
        self.store.lock(wait)
    }

    /// The state of the file, which stays so while `writer` lives.
    fn latest(&self, writer: &mut Writer<'_>) -> Result<Arc<State>, KeyFileError> {
        self.store.check_place()?;
        let loaded = writer.load()?;
        self.adopt(loaded.bytes())
    }

    /// Writes `new` and makes it the state.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        seen: &mut Option<Seen>,
        new: State,
        unproven: Option<&NewKeys>,
    ) -> Result<(), KeyFileError> {
        // Without a protection it is key material.
        let bytes = Zeroizing::new(new.encode(unproven).map_err(at(self.path()))?);
        writer.replace(&bytes)?;
        *seen = None;
        self.install(Arc::new(new));
        Ok(())
    }

    /// Gives back what this process took for counting and did not use.
    pub(super) fn give_back(&self) -> Result<(), KeyFileError> {
        if self.process != std::process::id() {
            // A copy of the process by `fork`: what is left is the other's.
            return Ok(());
        }
        let state = self.state().clone();
        let unused = self.allowances.give_back(|id| state.keys.key(id));
        if unused.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer(LAST_WAIT)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let mut keys = state.keys.clone();
        for record in keys.keysets.iter_mut().flat_map(Keyset::versions_mut) {
            if let Some(unused) = unused.get(&record.master_key_id) {
                record.usage = record.usage.minus(*unused);
            }
        }
        self.write_usage(&mut writer, &mut seen, &state, keys)
    }
}
