//! The check that a retired version does not open the new header (SPEC R-FAIL).

use super::job::{RewrapJob, SlotProgress};
use super::report::SlotOutcome;
use crate::envelope::decrypt::SlotFailures;
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, MAX_SLOTS};
use crate::keyring::{Keyring, KeyringError, Refusal};

impl<K: Keyring> RewrapJob<'_, K> {
    /// Checks that the retired version does not open the new header, from the outcomes of the rewrap
    /// without another call.
    pub(super) fn check_retired(&self, progress: &SlotProgress<'_>) -> Result<(), Error> {
        let Some((name, version)) = self.options.retiring else { return Ok(()) };
        let meant = self.meant_by(name)?;
        let named = || self.slots().zip(meant).filter(|(_, meant)| *meant).map(|(slot, _)| slot);
        let is_foreign = named().all(|(at, _)| progress.outcome(at).is_not_mine());
        for (index, slot) in named() {
            let key = || slot.label.name.as_str().into();
            let outcome = progress.outcome(index);
            let remaining: Option<KeyVersion> = match outcome {
                outcome if outcome.is_replaced() => {
                    progress.new.of(index).map(|new| new.label.version)
                }
                outcome => outcome.stays().then_some(slot.label.version),
            };
            if remaining != Some(version) {
                continue;
            }
            match outcome {
                SlotOutcome::Rewrapped
                | SlotOutcome::Trusted
                | SlotOutcome::Current
                | SlotOutcome::Labelled => {
                    return Err(Error::OldVersionStillOpens { key: key(), version });
                }
                // It is unknown whether the slot opens, as for a name of another keyring (below).
                SlotOutcome::Refused(Refusal::UnknownVersion | Refusal::Excluded)
                | SlotOutcome::Backend(_) => {
                    let error = outcome.failure().unwrap_or(KeyringError::NotMine);
                    return Err(SlotFailures::of(&slot, error).into_error(self.old));
                }
                SlotOutcome::NotMine if is_foreign => {
                    let refusal = Refusal::UnknownVersion;
                    return Err(Error::Refused { key: key(), version, refusal });
                }
                _ => {}
            }
        }
        // A misspelt name must not pass the check.
        let missing = || Error::MissingSlot { key: name.into() };
        named().next().map(drop).ok_or_else(missing)
    }

    /// Returns the slots of a name, and of the keys that it stands for as an alias.
    fn meant_by(&self, name: &str) -> Result<[bool; MAX_SLOTS], Error> {
        let mut meant = [false; MAX_SLOTS];
        let mut mean = |name: &str| {
            for ((_, slot), meant) in self.slots().zip(&mut meant) {
                *meant |= slot.label.name.as_str() == name;
            }
        };
        mean(name);
        if let Ok(alias) = KeyName::new(name) {
            let visited = self.keyring.holds(alias, &mut |key| mean(key.as_str()));
            visited.map_err(Error::from_wrap)?;
        }
        Ok(meant)
    }
}
