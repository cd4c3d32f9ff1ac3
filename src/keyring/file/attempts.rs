//! Operations that look at the file again before they give up.

use super::keyring::FileKeyring;
use super::state::State;
use crate::format::SlotLabel;
use crate::keyring::held::HeldKey;
use crate::keyring::{KeyringError, Refusal, WrapContext};
use alloc::sync::Arc;
use core::time::Duration;

/// For how long the file is not looked at again because of an unknown key name.
const NAME_PATIENCE: Duration = Duration::from_millis(100);

impl FileKeyring {
    /// Runs `operation` on the state, and once more on a fresh one if a version is unknown:
    /// another process may have added it a moment ago.
    pub(super) fn with_state<T>(
        &self,
        mut operation: impl FnMut(&State) -> Result<T, KeyringError>,
        is_unknown: impl Fn(&Result<T, KeyringError>) -> bool,
    ) -> Result<T, KeyringError> {
        let asked = self.shared.elapsed();
        self.shared.refresh_if_due();
        // Not under the lock: a token may take its time, and a change need not wait for that.
        let state = self.shared.state().clone();
        let first = operation(&state);
        if !is_unknown(&first) {
            return first;
        }
        self.shared.reload_since(asked).map_err(KeyringError::unavailable)?;
        let known = state.keys.keysets.change();
        let state = self.shared.state().clone();
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
            Err(KeyringError::NotMine) => self.is_unknown_name(label),
            _ => false,
        }
    }

    /// Whether no master key has the name, and another process may have added it. Names are
    /// what whoever writes messages likes, and beside other keyrings most are foreign: so that
    /// costs a look in every tenth of a second only.
    pub(super) fn is_unknown_name(&self, label: &SlotLabel<'_>) -> bool {
        self.shared.keysets().keyset(label.name.as_str()).is_none()
            && self.shared.since_look() > NAME_PATIENCE
    }

    /// Runs `wrap` on a state in which `pick` picks a key that the wrap is counted for.
    pub(super) fn counted(
        &self,
        context: &WrapContext<'_>,
        pick: impl Fn(&State) -> Result<Arc<dyn HeldKey>, KeyringError>,
        mut wrap: impl FnMut(&State) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        self.shared.begin_own_counts();
        loop {
            // Held until the slot is written, so that no change of this process's comes between.
            let state = self.shared.state();
            let key = pick(&state)?;
            if key.count(context, self.shared.allowed(&state, &*key)) {
                return wrap(&state);
            }
            drop(state);
            // May load the file anew.
            match self.shared.reserve(&*key) {
                // Another process has rotated.
                Err(KeyringError::WrapLimit { .. })
                    if pick(&self.shared.state())?.id() != key.id() => {}
                reserved => reserved?,
            }
        }
    }
}
