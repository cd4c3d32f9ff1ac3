//! Wrapping and unwrapping, which poll the file before they fail.

use super::keyring::FileKeyring;
use super::snapshot::Snapshot;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, Slot, SlotLabel};
use crate::keyring::{
    Freshness, Keyring, KeyringError, PrimaryKey, Refusal, SlotWriter, WrapContext, forward_keyring,
};
use crate::random::KeyringRng;
use core::time::Duration;

/// The shortest time between two polls because of unknown key names.
const UNKNOWN_NAME_INTERVAL: Duration = Duration::from_millis(100);

impl Keyring for FileKeyring {
    forward_keyring!(self => self; wrap_for);

    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.open_file.refresh_if_due();
        // Not under the lock: the visitor is the caller's.
        let state = self.open_file.snapshot().clone();
        state.keys.visit_primary(&self.selection, visit)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        let exists = |state: &Snapshot| Ok(state.keys.keysets.find(name.as_str()).is_some());
        self.with_snapshot(exists, |_| self.is_unknown_name(name))?;
        // Not under the lock: the visitor is the caller's.
        let state = self.open_file.snapshot().clone();
        state.keys.holds(&self.selection, name, visit);
        Ok(())
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let unwrap = |state: &Snapshot| state.keys.unwrap(&self.selection, slot, context, data_key);
        self.with_snapshot(unwrap, |answer| self.is_unknown(answer, &slot.label))
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let freshness = |state: &Snapshot| state.keys.freshness(&self.selection, slot);
        self.with_snapshot(freshness, |answer| match answer {
            Ok(Freshness::NotMine) => self.is_unknown_name(slot.name),
            Ok(freshness) => *freshness == Freshness::Refused(Refusal::UnknownVersion),
            Err(_) => false,
        })
    }
}

impl FileKeyring {
    /// Runs `operation` on the current snapshot, and again on a fresh one if a version or name is
    /// unknown: another process may have added it.
    fn with_snapshot<T>(
        &self,
        mut operation: impl FnMut(&Snapshot) -> Result<T, KeyringError>,
        is_unknown: impl Fn(&Result<T, KeyringError>) -> bool,
    ) -> Result<T, KeyringError> {
        let asked = self.open_file.elapsed();
        self.open_file.refresh_if_due();
        // Not under the lock: a token can be slow, and a change does not wait for it.
        let snapshot = self.open_file.snapshot().clone();
        let first = operation(&snapshot);
        if !is_unknown(&first) {
            return first;
        }
        self.open_file.reload_since(asked).map_err(KeyringError::from)?;
        let known = snapshot.keys.keysets.change();
        let snapshot = self.open_file.snapshot().clone();
        if snapshot.keys.keysets.change() == known { first } else { operation(&snapshot) }
    }

    /// Whether the outcome may change once the file is polled.
    fn is_unknown<T>(&self, outcome: &Result<T, KeyringError>, label: &SlotLabel<'_>) -> bool {
        match outcome {
            Err(KeyringError::Refused(refusal)) => *refusal == Refusal::UnknownVersion,
            Err(KeyringError::NotMine) => self.is_unknown_name(label.name),
            _ => false,
        }
    }

    /// Whether no master key or alias has the name, and a poll for it is due. Names come from
    /// untrusted headers and mostly belong to other keyrings, so they cause few polls.
    fn is_unknown_name(&self, name: KeyName<'_>) -> bool {
        self.open_file.snapshot().keys.keysets.find(name.as_str()).is_none()
            && self.open_file.since_poll() > UNKNOWN_NAME_INTERVAL
    }

    /// Wraps under the master key `name`, or under the selected one, and counts the wrap.
    fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.open_file.check_loaded()?;
        self.open_file.reset_counts_after_fork();
        let selection = &self.selection;
        loop {
            // Locked until the slot is written: no change of this process comes between.
            let snapshot = self.open_file.snapshot();
            let (label, key) = snapshot.keys.primary(selection, name)?;
            if key.count(context, self.open_file.allowed(&snapshot, &**key)) {
                return key.wrap(data_key, &label, context, slots, rng);
            }
            let key = key.clone();
            drop(snapshot);
            // May install another snapshot.
            match self.open_file.reserve(&*key) {
                // Another process rotated.
                Err(KeyringError::WrapLimit { .. })
                    if self.open_file.snapshot().keys.primary(selection, name)?.1.id()
                        != key.id() => {}
                reserved => reserved?,
            }
        }
    }
}
