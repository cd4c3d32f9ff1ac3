//! Operations of a [`FileKeyring`] that poll the file before they fail.

use super::keyring::FileKeyring;
use super::snapshot::Snapshot;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, SlotLabel};
use crate::keyring::{KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use core::time::Duration;

/// The shortest time between two polls because of unknown key names.
const UNKNOWN_NAME_INTERVAL: Duration = Duration::from_millis(100);

impl FileKeyring {
    /// Runs `operation` on the current snapshot, and again on a fresh one if a version or name is
    /// unknown: another process may have added it.
    pub(super) fn with_snapshot<T>(
        &self,
        mut operation: impl FnMut(&Snapshot) -> Result<T, KeyringError>,
        is_unknown: impl Fn(&Result<T, KeyringError>) -> bool,
    ) -> Result<T, KeyringError> {
        let asked = self.inner.elapsed();
        self.inner.refresh_if_due();
        // Not under the lock: a token can be slow, and a change does not wait for it.
        let snapshot = self.inner.snapshot().clone();
        let first = operation(&snapshot);
        if !is_unknown(&first) {
            return first;
        }
        self.inner.reload_since(asked).map_err(KeyringError::from)?;
        let known = snapshot.keys.keysets.change();
        let snapshot = self.inner.snapshot().clone();
        if snapshot.keys.keysets.change() == known { first } else { operation(&snapshot) }
    }

    /// Whether the outcome may change once the file is polled.
    pub(super) fn is_unknown<T>(
        &self,
        outcome: &Result<T, KeyringError>,
        label: &SlotLabel<'_>,
    ) -> bool {
        match outcome {
            Err(KeyringError::Refused(refusal)) => *refusal == Refusal::UnknownVersion,
            Err(KeyringError::NotMine) => self.is_unknown_name(label.name),
            _ => false,
        }
    }

    /// Whether no master key or alias has the name, and a poll for it is due. Names come from
    /// untrusted headers and mostly belong to other keyrings, so they cause few polls.
    pub(super) fn is_unknown_name(&self, name: KeyName<'_>) -> bool {
        self.inner.snapshot().keys.keysets.find(name.as_str()).is_none()
            && self.inner.since_poll() > UNKNOWN_NAME_INTERVAL
    }

    /// Wraps under the master key `name`, or under the selected one, and counts the wrap.
    pub(super) fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.inner.check_loaded()?;
        self.inner.reset_counts_after_fork();
        let selection = &self.selection;
        loop {
            // Locked until the slot is written: no change of this process comes between.
            let snapshot = self.inner.snapshot();
            let (label, key) = snapshot.keys.primary(selection, name)?;
            if key.count(context, self.inner.allowed(&snapshot, &**key)) {
                return key.wrap(data_key, &label, context, slots, rng);
            }
            let key = key.clone();
            drop(snapshot);
            // May install another snapshot.
            match self.inner.reserve(&*key) {
                // Another process rotated.
                Err(KeyringError::WrapLimit { .. })
                    if self.inner.snapshot().keys.primary(selection, name)?.1.id() != key.id() => {}
                reserved => reserved?,
            }
        }
    }
}
