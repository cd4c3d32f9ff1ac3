//! One rewrap: the outcome of each slot (SPEC 6), and the new header.

use super::report::{RewrapReport, SlotOutcome};
use super::write::NewHeader;
use super::{RewrapOptions, prove_slot, refused_primary, verify_slot};
use crate::crypto::secret::DataKey;
use crate::envelope::decrypt::SlotFailures;
use crate::envelope::opened::Opened;
use crate::envelope::scratch::NewSlots;
use crate::error::Error;
use crate::format::{Header, KeyName, MAX_HEADER_LEN, MAX_SLOTS, Slot, SlotFault, SlotLabel};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, SlotWriter, WrapContext};
use crate::random::RandomPool;

/// The rewrap of one header.
pub(super) struct RewrapJob<'a, K> {
    pub(super) keyring: &'a K,
    pub(super) old: &'a Header<'a>,
    pub(super) options: &'a RewrapOptions<'a>,
    /// The padding of a header that grows, unless it had more.
    pub(super) reserved: usize,
}

/// The slots during a rewrap.
pub(super) struct SlotProgress<'r> {
    /// `None` if the slot is decided.
    freshness: [Option<Freshness>; MAX_SLOTS],
    report: &'r mut RewrapReport,
    pub(super) new: NewSlots,
}

impl SlotProgress<'_> {
    fn freshness(&self, index: usize) -> Option<Freshness> {
        self.freshness.get(index).copied().flatten()
    }

    pub(super) fn outcome(&self, index: usize) -> &SlotOutcome {
        self.report.slots().get(index).unwrap_or(&SlotOutcome::NotMine)
    }

    /// Records the final outcome of a slot.
    fn decide(&mut self, index: usize, outcome: SlotOutcome) {
        self.report.set(index, outcome);
        if let Some(freshness) = self.freshness.get_mut(index) {
            *freshness = None;
        }
    }

    fn has_opened(&self) -> bool {
        self.report.slots().iter().any(SlotOutcome::has_opened)
    }
}

impl<'a, K: Keyring> RewrapJob<'a, K> {
    /// Rewraps the header, and reports the outcome of each slot. `header` is a copy of the old one if
    /// nothing changes (SPEC R-IDEMPOTENT).
    pub(super) fn run(
        &self,
        header: &mut NewHeader,
        report: &mut RewrapReport,
        pool: &mut RandomPool<'_>,
    ) -> Result<(), Error> {
        let new = NewSlots::new();
        let mut progress = SlotProgress { freshness: [None; MAX_SLOTS], report, new };
        self.classify(&mut progress)?;
        if !self.is_current_by_label(&progress) {
            self.check_compromised(&mut progress)?;
            for (index, slot) in self.slots() {
                let name = slot.label.name;
                let is_first = self.named(name).next().is_some_and(|(first, _)| first == index);
                if is_first && !self.is_all_primary(&progress, name) {
                    self.rewrap_name(name, &mut progress, pool)?;
                }
            }
            self.prove_one(&mut progress)?;
        }
        self.check_retired(&progress)?;
        if progress.report.is_changed() {
            return self.write(&progress, header);
        }
        header.keep(self.old);
        Ok(())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (usize, Slot<'a>)> {
        self.old.slots().enumerate()
    }

    fn named(&self, name: KeyName<'a>) -> impl Iterator<Item = (usize, Slot<'a>)> {
        self.slots().filter(move |(_, slot)| slot.label.name == name)
    }

    /// Classifies each slot by its label.
    fn classify(&self, progress: &mut SlotProgress<'_>) -> Result<(), Error> {
        for (index, slot) in self.slots() {
            let freshness = match self.keyring.freshness(&slot.label) {
                // A state refuses before any call to a backend.
                Ok(Freshness::Refused(refusal)) if refusal != Refusal::UnknownVersion => {
                    progress.decide(index, SlotOutcome::Refused(refusal));
                    continue;
                }
                Ok(freshness) => freshness,
                Err(error) => {
                    let outcome = SlotOutcome::of_failure(error).map_err(Error::from_wrap)?;
                    progress.decide(index, outcome);
                    continue;
                }
            };
            if freshness == Freshness::Primary {
                progress.report.set(index, SlotOutcome::Labelled);
            }
            if let Some(entry) = progress.freshness.get_mut(index) {
                *entry = Some(freshness);
            }
        }
        Ok(())
    }

    fn is_all_primary(&self, progress: &SlotProgress<'_>, name: KeyName<'a>) -> bool {
        self.named(name).all(|(index, _)| progress.freshness(index) == Some(Freshness::Primary))
    }

    /// Returns whether the result relies on labels (SPEC R-LABELS): a name is held, and each name has all
    /// its slots under the primary, or none that belongs to the keyring.
    fn is_current_by_label(&self, progress: &SlotProgress<'_>) -> bool {
        let is_foreign = |name| {
            let mut slots = self.named(name);
            slots.all(|(index, _)| progress.freshness(index) == Some(Freshness::NotMine))
        };
        progress.report.relied_on_labels()
            && self.slots().all(|(_, Slot { label, .. })| {
                self.is_all_primary(progress, label.name) || is_foreign(label.name)
            })
    }

    /// Fails if a slot opens under a compromised version that is not named. A slot that does not open is
    /// left (SPEC R-COMPROMISED).
    fn check_compromised(&self, progress: &mut SlotProgress<'_>) -> Result<(), Error> {
        for (index, slot) in self.slots() {
            let is_unnamed = progress.freshness(index) == Some(Freshness::Compromised)
                && !self.options.compromised.has(&slot.label);
            if !is_unnamed {
                continue;
            }
            // Under `trusting_backend` no data key may enter this process, so the label decides.
            if self.options.trust_backend || self.opens(index, &slot, progress)? {
                let error = KeyringError::Refused(Refusal::Compromised);
                return Err(SlotFailures::of(&slot, error).into_error(self.old));
            }
        }
        Ok(())
    }

    /// Returns whether a slot opens, and records the outcome if it does not.
    fn opens(
        &self,
        index: usize,
        slot: &Slot<'_>,
        progress: &mut SlotProgress<'_>,
    ) -> Result<bool, Error> {
        match self.verify(slot) {
            Ok(()) => Ok(true),
            Err(error) => {
                let outcome = SlotOutcome::of_failure(error).map_err(Error::from_wrap)?;
                progress.decide(index, outcome);
                Ok(false)
            }
        }
    }

    /// Rewraps the slots of a name of which not all are labelled with the primary version.
    fn rewrap_name(
        &self,
        name: KeyName<'a>,
        progress: &mut SlotProgress<'_>,
        pool: &mut RandomPool<'_>,
    ) -> Result<(), Error> {
        for (index, slot) in self.named(name) {
            let is_primary = progress.freshness(index) == Some(Freshness::Primary);
            if is_primary && !self.options.trust_backend && self.opens(index, &slot, progress)? {
                progress.decide(index, SlotOutcome::Current);
            }
        }
        for (index, slot) in self.named(name) {
            let is_due = match progress.freshness(index) {
                Some(Freshness::Stale | Freshness::Compromised | Freshness::Refused(_)) => true,
                Some(Freshness::Primary | Freshness::NotMine) | None => false,
            };
            if is_due {
                self.renew(index, &slot, progress, pool)?;
            }
        }
        Ok(())
    }

    /// Wraps the data key of a slot again, and decides between the new slot and the existing ones.
    fn renew(
        &self,
        index: usize,
        slot: &Slot<'a>,
        progress: &mut SlotProgress<'_>,
        pool: &mut RandomPool<'_>,
    ) -> Result<(), Error> {
        let mut data_key = DataKey::empty();
        let new = match self.wrap_again(slot, &mut progress.new, &mut data_key, pool) {
            Ok(new) => new,
            // The old version opens, so the primary may not wrap (SPEC R-FAIL).
            Err(KeyringError::Refused(refusal))
                if !self.options.trust_backend
                    && !matches!(progress.freshness(index), Some(Freshness::Refused(_)))
                    && self.verify(slot).is_ok() =>
            {
                let is_it = |_, label: &SlotLabel<'_>| label.name == slot.label.name;
                return Err(refused_primary(self.keyring, refusal, is_it));
            }
            Err(error) => {
                let outcome = SlotOutcome::of_failure(error).map_err(Error::from_wrap)?;
                progress.decide(index, outcome);
                return Ok(());
            }
        };
        let made = progress.new.get(new).ok_or(Error::Slot(SlotFault::None))?;
        // SPEC H-DUPLICATE: a header has one slot of a name, version and id.
        let is_twin = |(_, other): &(usize, Slot<'a>)| other.label.same_key(&made.label);
        let twin = self.slots().filter(|(at, _)| progress.outcome(*at).stays()).find(is_twin);
        let twin = twin.map(|(at, _)| at);
        if twin == Some(index) {
            // The primary has changed since the classification.
            progress.decide(index, SlotOutcome::Current);
            return Ok(());
        }
        let opens = |at| progress.outcome(at).has_opened();
        let mut others = (0..self.old.slots().len()).filter_map(|at| progress.new.of(at));
        let is_made = others.any(|other| other.label.same_key(&made.label));
        if twin.is_some_and(opens) || is_made {
            progress.decide(index, SlotOutcome::Merged);
            return Ok(());
        }
        // A later rewrap can prove the new slot. The old one stays until then.
        if let Some(outcome) = self.prove(&made, &data_key)? {
            progress.decide(index, outcome);
            return Ok(());
        }
        progress.new.keep(index, new);
        let trusts = self.options.trust_backend;
        let outcome = if trusts { SlotOutcome::Trusted } else { SlotOutcome::Rewrapped };
        progress.decide(index, outcome);
        if let Some(twin) = twin {
            progress.decide(twin, SlotOutcome::Superseded);
        }
        Ok(())
    }

    /// Returns the outcome of the old slot if the backend does not decide whether the new one opens.
    fn prove(&self, new: &Slot<'_>, verified: &DataKey) -> Result<Option<SlotOutcome>, Error> {
        if self.options.trust_backend {
            return Ok(None);
        }
        let undecided = prove_slot(self.keyring, self.old, new, verified)?;
        undecided.map(SlotOutcome::of_failure).transpose().map_err(Error::from_wrap)
    }

    /// Writes one slot with the keyring, and returns its start. `data_key` gets the data key if the keyring
    /// unwraps it here.
    fn wrap_again(
        &self,
        slot: &Slot<'_>,
        new: &mut NewSlots,
        data_key: &mut DataKey,
        pool: &mut RandomPool<'_>,
    ) -> Result<usize, KeyringError> {
        match self.rewrap_into(slot, new.room(), data_key, pool) {
            // SPEC H-BOUND: the length is a claim of the keyring.
            Err(KeyringError::Slot(SlotFault::Room { needed, .. })) if needed <= MAX_HEADER_LEN => {
                new.grow(needed);
                self.rewrap_into(slot, new.room(), data_key, pool)?;
            }
            other => other?,
        }
        Ok(new.take())
    }

    fn rewrap_into(
        &self,
        slot: &Slot<'_>,
        room: &mut [u8],
        data_key: &mut DataKey,
        pool: &mut RandomPool<'_>,
    ) -> Result<(), KeyringError> {
        let context =
            WrapContext::new(self.old.core()).trusting_backend(self.options.trust_backend);
        // SPEC R-NAME: no other name is accepted.
        let mut writer = SlotWriter::new(room, self.old.suite(), Some(slot.label.name))
            .keeping(self.old.core(), data_key);
        let mut wrapped = Err(KeyringError::NotMine);
        if let Some(key) = self.opened_from(slot) {
            let (name, context) = (slot.label.name, context.replacing(slot.label));
            wrapped = self.keyring.wrap_under(name, key.data_key, &context, &mut writer, pool);
        }
        // Of several keyrings of one name, an unwrap finds the owner.
        if let Err(KeyringError::NotMine) = wrapped {
            wrapped = self.keyring.rewrap(slot, &context, &mut writer, pool);
        }
        wrapped?;
        match writer.slots().len() {
            0 => Err(SlotFault::None.into()),
            1 => Ok(()),
            _ => Err(SlotFault::NotOne.into()),
        }
    }

    /// Returns the caller's opened key if it was opened from this slot (SPEC R-OPENED).
    fn opened_from(&self, slot: &Slot<'_>) -> Option<Opened<'a>> {
        let key = self.options.opened.filter(|key| key.slot() == *slot)?;
        match self.keyring.freshness(&slot.label) {
            Ok(Freshness::Primary | Freshness::Stale | Freshness::Compromised) => {
                key.of(self.old).ok()
            }
            // Another keyring of that name may have opened it.
            _ => None,
        }
    }

    fn verify(&self, slot: &Slot<'_>) -> Result<(), KeyringError> {
        if self.opened_from(slot).is_some() {
            return Ok(());
        }
        verify_slot(self.keyring, &WrapContext::new(self.old.core()), slot)
    }

    /// Checks that a slot opens. Labels alone suffice only under SPEC R-LABELS (SPEC R-FAIL).
    fn prove_one(&self, progress: &mut SlotProgress<'_>) -> Result<(), Error> {
        let trusts = self.options.trust_backend && progress.report.relied_on_labels();
        for (index, slot) in self.slots() {
            if trusts || progress.has_opened() {
                return Ok(());
            }
            let is_labelled = matches!(progress.outcome(index), SlotOutcome::Labelled);
            if is_labelled && self.opens(index, &slot, progress)? {
                progress.decide(index, SlotOutcome::Current);
            }
        }
        if progress.has_opened() {
            return Ok(());
        }
        let mut failures = SlotFailures::default();
        for (index, slot) in self.slots() {
            if let Some(error) = progress.outcome(index).failure() {
                failures.add(&slot, error);
            }
        }
        Err(failures.into_error(self.old))
    }

    /// Writes the new header.
    fn write(&self, progress: &SlotProgress<'_>, header: &mut NewHeader) -> Result<(), Error> {
        let slots = || {
            self.slots().filter_map(|(index, slot)| match progress.outcome(index) {
                outcome if outcome.is_replaced() => progress.new.of(index),
                outcome => outcome.stays().then_some(slot),
            })
        };
        header.write(self.old, slots, self.reserved)
    }
}
