//! One `add_slot`: the existing slots, the new ones, and the new header (SPEC 6.1).

use super::grant::{GrantOptions, open_one};
use super::write::NewHeader;
use super::{prove_slot, refused_primary, verify_slot};
use crate::crypto::secret::DataKey;
use crate::envelope::decrypt::SlotFailures;
use crate::envelope::scratch::{STACK_LEN, Scratch};
use crate::error::Error;
use crate::format::{Header, MAX_HEADER_LEN, MAX_SLOTS, Slot, SlotFault, Slots, unpadded_len};
use crate::keyring::{Keyring, KeyringError, SlotWriter, WrapContext};
use crate::random::RandomPool;

/// One `add_slot`.
pub(super) struct Grant<'a, K, T: ?Sized> {
    pub(super) from: &'a K,
    pub(super) to: &'a T,
    pub(super) old: &'a Header<'a>,
    pub(super) options: GrantOptions<'a>,
}

/// Whether each slot of the old header opens with `to`; `None` if that is unknown so far.
type CheckedSlots = [Option<bool>; MAX_SLOTS];

impl<K: Keyring, T: Keyring + ?Sized> Grant<'_, K, T> {
    /// Adds the missing slots to `header` (SPEC G-ADD). Returns whether any was missing.
    pub(super) fn run(
        &self,
        header: &mut NewHeader,
        reserved: usize,
        pool: &mut RandomPool<'_>,
    ) -> Result<bool, Error> {
        let mut checked: CheckedSlots = [None; MAX_SLOTS];
        if self.is_there(&mut checked)? {
            return Ok(false);
        }
        let made = self.make(pool)?;
        let (mut changes, mut count) = (0_usize, self.old.slots().len());
        for new in made.slots() {
            match self.old.slots().position(|slot| slot.label.same_key(&new.label)) {
                Some(at) if self.opens(at, &mut checked)? => continue,
                Some(_) => {}
                None => count += 1,
            }
            changes += 1;
            if !self.options.trust_wrap {
                let silence = prove_slot(self.to, self.old, &new, &DataKey::empty())?;
                silence.map_or(Ok(()), |error| Err(Error::from_wrap(error)))?;
            }
        }
        if changes == 0 {
            return Ok(false);
        }
        if count > MAX_SLOTS {
            return Err(Error::Slot(SlotFault::TooMany));
        }
        let (made, checked) = (&made, &checked);
        let slots = || {
            let old = self.old.slots().zip(checked).map(|(slot, opens)| match opens {
                Some(false) => made.of_key(&slot).unwrap_or(slot),
                _ => slot,
            });
            let is_new = |new: &Slot<'_>| !self.old.slots().any(|s| s.label.same_key(&new.label));
            old.chain(made.slots().filter(is_new))
        };
        header.write(self.old, slots, reserved)?;
        Ok(true)
    }

    /// Returns whether the header has each slot that `to` would write, and they open.
    fn is_there(&self, checked: &mut CheckedSlots) -> Result<bool, Error> {
        let mut wanted = [false; MAX_SLOTS];
        let (mut is_any, mut is_all) = (false, true);
        let asked = self.to.visit_primaries(&mut |primary| {
            let mut places = self.old.slots().zip(&mut wanted);
            match places.find(|(slot, _)| slot.label.same_key(&primary.label)) {
                Some((_, wanted)) => (*wanted, is_any) = (true, true),
                None => is_all = false,
            }
        });
        asked.map_err(Error::from_wrap)?;
        for (at, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
            is_all &= self.opens(at, checked)?;
        }
        Ok(is_any && is_all)
    }

    /// Returns whether a slot of the old header opens with `to`, which unwraps it once.
    fn opens(&self, at: usize, checked: &mut CheckedSlots) -> Result<bool, Error> {
        let (Some(slot), Some(known)) = (self.old.slots().nth(at), checked.get_mut(at)) else {
            return Ok(false);
        };
        if let Some(opens) = *known {
            return Ok(opens);
        }
        let opened = match self.options.trust_wrap {
            true => Ok(()),
            false => verify_slot(self.to, &WrapContext::new(self.old.core()), &slot),
        };
        let opens = match opened {
            Ok(()) => true,
            // Damaged, or of an algorithm that the version does not have (SPEC W-ONE).
            Err(KeyringError::NotMine | KeyringError::Authentication) => false,
            Err(error) => return Err(SlotFailures::of(&slot, error).into_error(self.old)),
        };
        *known = Some(opens);
        Ok(opens)
    }

    /// Opens a slot with `from`, and wraps the data key with `to`.
    fn make(&self, pool: &mut RandomPool<'_>) -> Result<AddedSlots, Error> {
        let mut data_key = DataKey::empty();
        open_one(self.from, self.old, self.old.slots(), &self.options.compromised, &mut data_key)
            .map_err(|failures| failures.into_error(self.old))?;
        let context = WrapContext::new(self.old.core());
        let mut written = 0;
        let mut wrap = |len| {
            let mut bytes = Scratch::zeroed(len);
            let mut slots = SlotWriter::new(bytes.as_mut_bytes(), self.old.suite(), None);
            let wrapped = self.to.wrap(&data_key, &context, &mut slots, pool);
            written = slots.slots().len();
            wrapped?;
            let count = slots.finish()?;
            Ok(AddedSlots { bytes, count })
        };
        let made = match wrap(STACK_LEN) {
            Err(KeyringError::Slot(SlotFault::Room { .. })) => wrap(MAX_HEADER_LEN),
            made => made,
        };
        made.map_err(|error| match error {
            KeyringError::Slot(SlotFault::Room { needed, .. }) => Error::HeaderRoom {
                needed: unpadded_len(self.old.slots()) + needed,
                available: MAX_HEADER_LEN,
            },
            // The primary after those that wrote a slot.
            KeyringError::Refused(refusal) => {
                refused_primary(self.to, refusal, |at, _| at == written)
            }
            other => Error::from_wrap(other),
        })
    }
}

/// The slots that `to` wrote.
struct AddedSlots {
    bytes: Scratch,
    count: u8,
}

impl AddedSlots {
    fn slots(&self) -> Slots<'_> {
        Slots::new(self.bytes.as_bytes(), self.count)
    }

    fn of_key(&self, slot: &Slot<'_>) -> Option<Slot<'_>> {
        self.slots().find(|new| new.label.same_key(&slot.label))
    }
}
