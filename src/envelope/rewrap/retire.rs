//! Whether a version that is to go still opens the new header (SPEC R-FAIL).

use super::job::{RewrapJob, SlotProgress};
use super::report::SlotOutcome;
use crate::envelope::decrypt::Failures;
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, MAX_SLOTS};
use crate::keyring::{Keyring, KeyringError, Refusal};

impl<K: Keyring> RewrapJob<'_, K> {
    /// Makes sure that the retiring version does not open the new header, by what the rewrap has
    /// seen: no slot is asked again.
    pub(super) fn check_retired(&self, progress: &SlotProgress) -> Result<(), Error> {
        let Some((name, version)) = self.options.retiring else { return Ok(()) };
        let meant = self.meant_by(name)?;
        let named = || self.slots().zip(meant).filter(|(_, meant)| *meant).map(|(slot, _)| slot);
        let is_foreign = named().all(|(at, _)| progress.outcome(at).is_not_mine());
        for (index, slot) in named() {
            let key = || slot.label.name.as_str().into();
            let outcome = progress.outcome(index);
            let stands: Option<KeyVersion> = match outcome {
                SlotOutcome::Rewrapped => progress.new.of(index).map(|new| new.label.version),
                outcome => outcome.stays().then_some(slot.label.version),
            };
            if stands != Some(version) {
                continue;
            }
            match outcome {
                SlotOutcome::Rewrapped | SlotOutcome::Current | SlotOutcome::Labelled => {
                    return Err(Error::OldVersionStillOpens { key: key(), version });
                }
                // Nobody here can tell, nor of a name that this keyring does not hold.
                SlotOutcome::Refused(Refusal::UnknownVersion | Refusal::Excluded)
                | SlotOutcome::Backend(_) => {
                    let error = outcome.failure().unwrap_or(KeyringError::NotMine);
                    return Err(Failures::of(&slot, error).into_error(self.old));
                }
                SlotOutcome::NotMine if is_foreign => {
                    let refusal = Refusal::UnknownVersion;
                    return Err(Error::Refused { key: key(), version, refusal });
                }
                _ => {}
            }
        }
        // A name that is misspelt would be retired of every message at once.
        let missing = || Error::MissingSlot { key: name.into() };
        named().next().map(drop).ok_or_else(missing)
    }

    /// The slots of a name, and of the keys that it stands for here as an alias.
    fn meant_by(&self, name: &str) -> Result<[bool; MAX_SLOTS], Error> {
        let mut meant = [false; MAX_SLOTS];
        let mut mean = |name: &str| {
            for ((_, slot), meant) in self.slots().zip(&mut meant) {
                *meant |= slot.label.name.as_str() == name;
            }
        };
        mean(name);
        if let Ok(alias) = KeyName::new(name) {
            let held = self.keyring.holds(alias, &mut |key| mean(key.as_str()));
            held.map_err(Error::from_wrap)?;
        }
        Ok(meant)
    }
}
