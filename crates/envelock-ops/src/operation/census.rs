//! A census: what the labels of a header say, and what opens.

use super::{EnvelopeOperation, Item, Operation, Verdict};
use crate::census::{ItemFacts, Unopenable};
use crate::definition::{CensusMode, Task, VersionName};
use envelock::keyring::{KeyringError, Refusal};
use envelock::{Error, Keyring, OpenedKey, RandomSource, SlotFinding, SlotLabel, inspect};

impl<K: Keyring, R: RandomSource> EnvelopeOperation<K, R> {
    pub(super) fn count(&self, header: &[u8]) -> Result<Verdict, Error> {
        let examined = self.envelope.examine(header)?;
        let (mut facts, mut is_opened, mut why) =
            (ItemFacts::default(), false, Unopenable::OtherKeyring);
        for (slot, finding) in examined.slots() {
            facts.add(&slot.label, finding.is_opened());
            is_opened |= finding.is_opened();
            match finding {
                // Nobody knows whether the slot opens, so the item is not counted.
                SlotFinding::NotOpened(KeyringError::Backend(error)) => {
                    return Err(Error::Backend(error.clone()));
                }
                SlotFinding::NotOpened(KeyringError::Refused(Refusal::UnknownVersion))
                | SlotFinding::Opened
                | SlotFinding::NotOpened(KeyringError::NotMine) => {}
                SlotFinding::NotOpened(KeyringError::Refused(_)) => {
                    why = why.max(Unopenable::Refused)
                }
                _ => why = why.max(Unopenable::NotVerified),
            }
        }
        if !is_opened {
            facts.set_unopenable(why);
        }
        Ok(Verdict::Counted(facts))
    }
}

/// A census of labels, which needs no key.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct LabelCensus;

impl Operation for LabelCensus {
    fn apply(&self, item: &Item<'_>) -> Verdict {
        count_labels(&item.stored.header).unwrap_or_else(Verdict::from)
    }

    fn open(&self, _: &[u8]) -> Result<OpenedKey, Error> {
        Err(Error::NoPrimary)
    }

    fn targets(&self) -> Result<Vec<VersionName>, Error> {
        Ok(Vec::new())
    }

    fn writes(&self, _: &SlotLabel<'_>) -> Result<bool, Error> {
        Ok(false)
    }

    fn unreadable(&self, _: &SlotLabel<'_>) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn refusal(&self, task: &Task) -> Option<String> {
        let is_labels = *task == Task::Census { mode: CensusMode::Labels };
        (!is_labels).then(|| "only a census of labels needs no keys".into())
    }

    fn counts_labels(&self) -> bool {
        true
    }
}

pub(super) fn count_labels(header: &[u8]) -> Result<Verdict, Error> {
    let mut facts = ItemFacts::default();
    inspect(header)?.slots().for_each(|slot| facts.add(&slot.label, false));
    Ok(Verdict::Counted(facts))
}
