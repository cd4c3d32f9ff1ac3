//! Operations that look at the file again before they give up.

use super::keyring::FileKeyring;
use super::snapshot::Snapshot;
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, SlotLabel};
use crate::keyring::{KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::KeyringRng;
use core::time::Duration;

/// For how long the file is not looked at again because of an unknown key name.
const UNKNOWN_NAME_INTERVAL: Duration = Duration::from_millis(100);

impl FileKeyring {
    /// Runs `operation` on the state, and once more on a fresh one if a version is unknown:
    /// another process may have added it a moment ago.
    pub(super) fn with_snapshot<T>(
        &self,
        mut operation: impl FnMut(&Snapshot) -> Result<T, KeyringError>,
        is_unknown: impl Fn(&Result<T, KeyringError>) -> bool,
    ) -> Result<T, KeyringError> {
        let asked = self.inner.elapsed();
        self.inner.refresh_if_due();
        // Not under the lock: a token may take its time, and a change need not wait for that.
        let state = self.inner.snapshot().clone();
        let first = operation(&state);
        if !is_unknown(&first) {
            return first;
        }
        self.inner.reload_since(asked).map_err(KeyringError::from)?;
        let known = state.keys.keysets.change();
        let state = self.inner.snapshot().clone();
        if state.keys.keysets.change() == known { first } else { operation(&state) }
    }

    /// Whether the answer may be another once the file has been looked at.
    pub(super) fn is_unknown<T>(
        &self,
        answer: &Result<T, KeyringError>,
        label: &SlotLabel<'_>,
    ) -> bool {
        match answer {
            Err(KeyringError::Refused(refusal)) => *refusal == Refusal::UnknownVersion,
            Err(KeyringError::NotMine) => self.is_unknown_name(label.name),
            _ => false,
        }
    }

    /// Whether no master key or alias has the name, and another process may have added it. Names are
    /// what whoever writes messages likes, and beside other keyrings most are foreign: so that
    /// costs a look in every tenth of a second only.
    pub(super) fn is_unknown_name(&self, name: KeyName<'_>) -> bool {
        self.inner.snapshot().keys.keysets.find(name.as_str()).is_none()
            && self.inner.since_poll() > UNKNOWN_NAME_INTERVAL
    }

    /// Wraps under the master key `name`, or under the selected one, and counts that.
    pub(super) fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.inner.ready_to_wrap()?;
        self.inner.reset_counts_after_fork();
        let selection = &self.selection;
        loop {
            // Held until the slot is written, so that no change of this process's comes between.
            let state = self.inner.snapshot();
            let (label, key) = state.keys.primary(selection, name)?;
            if key.count(context, self.inner.allowed(&state, &**key)) {
                return key.wrap(data_key, &label, context, slots, rng);
            }
            let key = key.clone();
            drop(state);
            // May load the file anew.
            match self.inner.reserve(&*key) {
                // Another process has rotated.
                Err(KeyringError::WrapLimit { .. })
                    if self.inner.snapshot().keys.primary(selection, name)?.1.id() != key.id() => {}
                reserved => reserved?,
            }
        }
    }
}
