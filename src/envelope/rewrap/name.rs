//! The rewrap of one key name's slots.
//!
//! Each slot that opens and is not under the primary gives way to a new one; whatever does not
//! open stays. So no slot is lost that somebody could still need.

use super::scratch::Scratch;
use super::{Growth, RewrapOptions, verify_slot};
use crate::envelope::decrypt::Failures;
use crate::error::Error;
use crate::format::{
    Header, KeyName, MAX_HEADER_LEN, Slot, SlotFault, SlotSet, SlotWriter, replace_slots,
};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext};
use crate::random::RandomPool;
use rand_core::TryCryptoRng;

/// The rewrap of the slots of one key name.
pub(super) struct NameJob<'a, K> {
    pub(super) keyring: &'a K,
    pub(super) name: KeyName<'a>,
    pub(super) options: RewrapOptions<'a>,
    pub(super) growth: Growth,
}

/// What became of the slots of one key name.
#[expect(clippy::large_enum_variant, reason = "short-lived, and a box would allocate")]
pub(super) enum Outcome {
    /// None is this keyring's.
    NotMine,
    /// All that open are under the primary.
    Current,
    /// The new header.
    Changed(Scratch),
}

impl<K: Keyring> NameJob<'_, K> {
    /// Wraps the data key anew for every slot in `old` that is not under the primary.
    pub(super) fn run<R>(
        &self,
        old: &Header<'_>,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Outcome, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        // Not an `Option`: optimised code looks at its length before it asks whether there is one,
        // and memcheck, which judges what depends on secrets, reports that.
        let mut current = Scratch::zeroed(0);
        let mut changed = false;
        let mut opened = false;
        let mut failures = Failures::default();
        for slot in old.slots().filter(|slot| slot.label.name == self.name) {
            let header = if changed { Header::parse_detached(current.as_bytes())? } else { *old };
            let Some(index) = header.slots().position(|other| other == slot) else {
                // It gave way to a new slot of the same key version.
                continue;
            };
            let freshness = self.keyring.freshness(&slot.label);
            if matches!(freshness, Ok(Freshness::Compromised))
                && !self.options.names_compromised(&slot.label)
            {
                // SPEC R-COMPROMISED: whatever else opens, the operator is told.
                let error = KeyringError::Refused(Refusal::Compromised);
                return Err(Failures::of(&slot, error).into_error(old));
            }
            match freshness.and_then(|freshness| self.renew(&header, &slot, freshness, pool)) {
                Ok(new) => {
                    opened = true;
                    if let Some(new) = new {
                        current = self.rebuild(&header, index, &new)?;
                        changed = true;
                    }
                }
                // Another's, or one that does not open: it stays byte for byte (SPEC R-KEEP).
                Err(KeyringError::NotMine) => {}
                Err(error @ (KeyringError::Refused(_) | KeyringError::Authentication)) => {
                    failures.add(&slot, error);
                }
                // It may well open later: nothing is decided without it.
                Err(error) => return Err(Error::from_wrap(error)),
            }
        }
        if !opened {
            return match failures.any() {
                true => Err(failures.into_error(old)),
                false => Ok(Outcome::NotMine),
            };
        }
        Ok(if changed { Outcome::Changed(current) } else { Outcome::Current })
    }

    /// Verifies a slot under the primary, or wraps its data key anew and returns the slot that
    /// it gives way to.
    fn renew<R>(
        &self,
        header: &Header<'_>,
        slot: &Slot<'_>,
        freshness: Freshness,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Option<Scratch>, KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        match freshness {
            Freshness::NotMine => Err(KeyringError::NotMine),
            // Where the backend is trusted, it shows that the slot opens by rewrapping it.
            Freshness::Primary if self.options.trust_backend => {
                self.wrap_anew(header, slot, pool).map(|_| None)
            }
            Freshness::Primary => self.verify(header, slot).map(|()| None),
            Freshness::Stale | Freshness::Compromised | Freshness::Refused(_) => {
                self.wrap_anew(header, slot, pool).map(Some)
            }
        }
    }

    /// The header with `new` in the place of slot `index`: as long as before, so that it can
    /// take its place, or as long as needed.
    fn rebuild(&self, header: &Header<'_>, index: usize, new: &Scratch) -> Result<Scratch, Error> {
        let mut slot = new.slot().ok_or(Error::Slot(SlotFault::None))?;
        let mut replaced = SlotSet::default();
        replaced.insert(index);
        // SPEC H-DUPLICATE: one slot of a key version. If the one that is there opens, it will
        // do; if not, it was damaged, or of an algorithm that is not its version's (SPEC W-ONE).
        let is_twin = |(_, other): &(usize, Slot<'_>)| other.label.same_key(&slot.label);
        let twin = header.slots().enumerate().find(is_twin);
        if let Some((twin, old)) = twin {
            replaced.insert(twin);
            if !self.options.trust_backend && self.verify(header, &old).is_ok() {
                slot = old;
            }
        }
        let mut out = Scratch::zeroed(header.len());
        match replace_slots(header, &slot, replaced, out.as_mut_bytes()) {
            Err(Error::HeaderRoom { needed, .. }) if self.growth == Growth::Allowed => {
                out = Scratch::zeroed(needed);
                replace_slots(header, &slot, replaced, out.as_mut_bytes())?;
            }
            other => other?,
        }
        // Whatever a keyring or a hostile header led to, no message is given a header that
        // cannot be read again.
        Header::parse_detached(out.as_bytes())?;
        Ok(out)
    }

    /// Has the keyring wrap the data key of `source` anew, and verifies what comes out.
    fn wrap_anew<R>(
        &self,
        header: &Header<'_>,
        source: &Slot<'_>,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Scratch, KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let mut out = Scratch::for_slot();
        match self.rewrap_into(header, source, &mut out, pool) {
            // SPEC H-BOUND: what a keyring claims to need is a claim.
            Err(KeyringError::Slot(SlotFault::Room { needed, .. })) if needed <= MAX_HEADER_LEN => {
                out = Scratch::zeroed(needed);
                self.rewrap_into(header, source, &mut out, pool)?;
            }
            other => other?,
        }
        let slot = out.slot().ok_or(SlotFault::None)?;
        if !self.options.trust_backend {
            // SPEC R-PROOF
            self.verify(header, &slot).map_err(|error| match error {
                KeyringError::NotMine | KeyringError::Authentication => SlotFault::Unproven.into(),
                // The version was disabled meanwhile, say, or the backend went away.
                other => other,
            })?;
        }
        Ok(out)
    }

    fn rewrap_into<R>(
        &self,
        header: &Header<'_>,
        source: &Slot<'_>,
        out: &mut Scratch,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<(), KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let context = WrapContext::new(header.core());
        // SPEC R-NAME: no other name is accepted.
        let mut writer = SlotWriter::new(out.as_mut_bytes(), header.suite(), Some(self.name));
        self.keyring.rewrap(source, &context, &mut writer, pool)?;
        match writer.slots().len() {
            0 => Err(SlotFault::None.into()),
            1 => Ok(()),
            _ => Err(SlotFault::NotOne.into()),
        }
    }

    fn verify(&self, header: &Header<'_>, slot: &Slot<'_>) -> Result<(), KeyringError> {
        verify_slot(self.keyring, &WrapContext::new(header.core()), slot)
    }
}
