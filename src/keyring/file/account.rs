//! Counting in the file what versions are used for, and keeping to the limits of those that have one.

use super::error::KeyFileError;
use super::shared::Shared;
use super::usage::Missing;
use crate::keyring::held::{HeldKey, PROCESS_WRAP_LIMIT};
use crate::keyring::{KeyringError, WrapContext};
use crate::keyset::{Keyset, Usage};
use crate::sync::lock;
use core::time::Duration;
use std::time::Instant;

/// How long the last handle waits for another writer when it gives back what it did not use.
const LAST_WAIT: Duration = Duration::from_millis(200);

impl Shared {
    /// Makes sure that the wrap that was counted with `key` is counted in the file. On an error it
    /// is taken back from the key's count.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrapLimit`]; [`KeyringError::Unavailable`] if the file cannot be written.
    pub(super) fn account(
        &self,
        key: &dyn HeldKey,
        context: &WrapContext<'_>,
    ) -> Result<(), KeyringError> {
        let counts = self.options.count_usage && !self.options.read_only;
        if !counts || !self.state().is_writable() {
            return self.check_uncounted(key).inspect_err(|_| key.uncount(context));
        }
        if self.allowances.missing(key).is_none() {
            return Ok(());
        }
        self.check_hope(key).inspect_err(|_| key.uncount(context))?;
        let outcome = self.take_block(key, context);
        self.publish();
        outcome
    }

    /// Refuses beyond what a version may wrap where that is not counted in the file.
    fn check_uncounted(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let Some(limit) = key.wrap_limit() else { return Ok(()) };
        let room = limit.saturating_sub(self.on_record(key).wraps);
        match key.usage().wraps {
            used if used > PROCESS_WRAP_LIMIT => Err(self.limit_reached(key, PROCESS_WRAP_LIMIT)),
            used if used > room => Err(self.limit_reached(key, limit)),
            _ => Ok(()),
        }
    }

    /// Refuses at the limit without waiting for the lock, which whoever rotates needs; after a look
    /// at the file, since another process may have rotated, or given back what it did not use.
    fn check_hope(&self, key: &dyn HeldKey) -> Result<(), KeyringError> {
        let asked = self.elapsed();
        let Some(limit) = key.wrap_limit() else { return Ok(()) };
        let is_hopeless = || {
            let missing = self.allowances.missing(key);
            missing.is_some_and(|missing| missing.is_hopeless(self.on_record(key), limit))
        };
        if !is_hopeless() {
            return Ok(());
        }
        self.reload_since(asked).map_err(KeyringError::unavailable)?;
        if is_hopeless() { Err(self.limit_reached(key, limit)) } else { Ok(()) }
    }

    fn take_block(&self, key: &dyn HeldKey, context: &WrapContext<'_>) -> Result<(), KeyringError> {
        let asked = Instant::now();
        let mut taking = lock(&self.taking);
        // Another thread may have taken one meanwhile, or waited for all of us in vain.
        let Some(missing) = self.allowances.missing(key) else { return Ok(()) };
        let vain = taking.as_ref().filter(|(failed, _)| *failed >= asked);
        let outcome = if let Some((_, error)) = vain {
            Err(KeyringError::unavailable(error.clone()))
        } else {
            let taken = self.take(key, &missing);
            *taking = taken.as_ref().err().map(|error| (Instant::now(), error.clone()));
            match (taken, key.wrap_limit()) {
                (Ok(false), Some(limit)) => Err(self.limit_reached(key, limit)),
                (taken, _) => taken.map(drop).map_err(KeyringError::unavailable),
            }
        };
        if outcome.is_err() {
            // Before the next thread asks for what is missing: it needs no room for this wrap.
            key.uncount(context);
        }
        outcome
    }

    /// Takes a block in the file; `false` if the limit of the version leaves too little.
    fn take(&self, key: &dyn HeldKey, missing: &Missing) -> Result<bool, KeyFileError> {
        // In this order: whoever waits for another process holds up no thread that looks.
        let mut writer = self.writer(self.options.lock_wait)?;
        let mut seen = lock(&self.seen);
        let state = self.latest(&mut writer)?;
        let mut keys = state.keys.clone();
        let mut records = keys.keysets.iter_mut().flat_map(Keyset::versions_mut);
        let record = records.find(|record| record.master_key_id == key.id());
        let on_record = record.as_ref().map(|record| record.usage).unwrap_or_default();
        let Some(block) = missing.block(on_record, key.wrap_limit()) else { return Ok(false) };
        if let Some(record) = record {
            record.usage = on_record.plus(block);
        }
        drop(records);
        self.write_usage(&mut writer, &mut seen, &state, keys)?;
        self.allowances.take(key.id(), block);
        Ok(true)
    }

    /// What the loaded file has of the version that `key` is of.
    fn on_record(&self, key: &dyn HeldKey) -> Usage {
        let state = self.state();
        state.keys.find(key.id()).map(|(_, record)| record.usage).unwrap_or_default()
    }

    fn limit_reached(&self, key: &dyn HeldKey, limit: u64) -> KeyringError {
        match self.state().keys.find(key.id()) {
            Some((keyset, record)) => {
                let (key, version) = (keyset.name().as_str().into(), record.version);
                KeyringError::WrapLimit { key, version, limit }
            }
            // No version that was loaded goes.
            None => KeyringError::NoPrimary,
        }
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
