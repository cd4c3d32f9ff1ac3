//! The rewrap of one key name's slots.

use super::RewrapOptions;
use super::scratch::Scratch;
use crate::crypto::secret::DataKey;
use crate::envelope::decrypt::{Failures, unwrap_verified};
use crate::error::Error;
use crate::format::{Header, KeyName, MAX_HEADER_LEN, Slot, SlotFault, SlotSet, SlotWriter};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext};
use crate::random::RandomPool;
use rand_core::TryCryptoRng;

/// The rewrap of the slots of one key name.
pub(super) struct NameJob<'a, K> {
    pub(super) keyring: &'a K,
    pub(super) header: &'a Header<'a>,
    pub(super) name: KeyName<'a>,
    pub(super) options: RewrapOptions,
}

/// What is to be done about the slots of one key name.
#[expect(clippy::large_enum_variant, reason = "short-lived, and a box would allocate")]
pub(super) enum Outcome {
    /// None is this keyring's.
    NotMine,
    /// The only one is under the primary, and verified.
    Current,
    /// `slot`, one encoded slot, takes the place of all in `replaced`.
    Replace { slot: Scratch, replaced: SlotSet },
}

/// A slot that opens, and what it stands for.
struct Source<'h> {
    slot: Slot<'h>,
    /// Whether it is under the primary.
    fresh: bool,
}

impl<K: Keyring> NameJob<'_, K> {
    /// Wraps the data key anew where a slot is not under the primary.
    pub(super) fn run<R>(&self, pool: &mut RandomPool<'_, R>) -> Result<Outcome, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let Some((source, mut replaced)) = self.find_source(pool)? else {
            return Ok(Outcome::NotMine);
        };
        if source.fresh && replaced.len() == 1 {
            return Ok(Outcome::Current);
        }
        let new = if source.fresh {
            Ok(Scratch::of_slot(&source.slot))
        } else {
            self.wrap_anew(&source.slot, pool)
        };
        let slot = match new {
            Ok(slot) => slot,
            Err(KeyringError::NotMine) => return Ok(Outcome::NotMine),
            Err(error) => return Err(Failures::of(&source.slot, error).into_error(self.header)),
        };
        self.add_collisions(&slot, &mut replaced);
        Ok(Outcome::Replace { slot, replaced })
    }

    /// Finds a slot that opens, under the primary if there is one, and the set of slots that the
    /// new one makes superfluous.
    fn find_source<R>(
        &self,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Option<(Source<'_>, SlotSet)>, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let mut source: Option<Source<'_>> = None;
        let mut replaced = SlotSet::default();
        let mut failures = Failures::default();
        let named = || {
            let slots = self.header.slots().enumerate();
            slots.filter(|(_, slot)| slot.label.name == self.name)
        };
        let only = named().count() == 1;
        for (index, slot) in named() {
            match self.verify(&slot, only, pool) {
                Ok(fresh) => {
                    replaced.insert(index);
                    if source.as_ref().is_none_or(|found| fresh && !found.fresh) {
                        source = Some(Source { slot, fresh });
                    }
                }
                // Another's: it stays byte for byte.
                Err(KeyringError::NotMine) => {}
                // Perhaps a newer one, by a process that knows more.
                Err(error @ KeyringError::Refused(Refusal::UnknownVersion)) => {
                    failures.add(&slot, error);
                }
                Err(error @ (KeyringError::Refused(_) | KeyringError::Authentication)) => {
                    replaced.insert(index);
                    failures.add(&slot, error);
                }
                // It may well open later: nothing is decided without it.
                Err(error) => return Err(Error::from_wrap(error)),
            }
        }
        match source {
            Some(source) => Ok(Some((source, replaced))),
            None if failures.any() => Err(failures.into_error(self.header)),
            None => Ok(None),
        }
    }

    /// Verifies that a slot opens, and says whether it is under the primary.
    ///
    /// A slot that is the only one of its name and not under the primary is left to
    /// [`Keyring::rewrap`], which opens it anyway. Where the backend is trusted, it is asked to
    /// rewrap the slot, and what it makes is dropped.
    fn verify<R>(
        &self,
        slot: &Slot<'_>,
        only: bool,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<bool, KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let freshness = self.keyring.freshness(&slot.label)?;
        match freshness {
            Freshness::NotMine => return Err(KeyringError::NotMine),
            Freshness::Stale | Freshness::UnknownVersion if only => {}
            _ if self.options.trust_backend => self.wrap_anew(slot, pool).map(|_| ())?,
            _ => self.unwrap_verified(slot)?,
        }
        Ok(freshness == Freshness::Primary)
    }

    /// Adds the slots that the new one would duplicate (SPEC H-DUPLICATE): one of the same key
    /// version under an algorithm that is not its own, which nobody's keyring made (SPEC W-ONE).
    fn add_collisions(&self, new: &Scratch, replaced: &mut SlotSet) {
        let Some(new) = new.slot() else { return };
        for (index, slot) in self.header.slots().enumerate() {
            if slot.label.same_key(&new.label) {
                replaced.insert(index);
            }
        }
    }

    /// Has the keyring wrap the data key of `source` anew, and verifies what comes out.
    fn wrap_anew<R>(
        &self,
        source: &Slot<'_>,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Scratch, KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let mut out = Scratch::for_slot();
        match self.rewrap_into(source, &mut out, pool) {
            // SPEC H-BOUND: what a keyring claims to need is a claim.
            Err(KeyringError::Slot(SlotFault::Room { needed, .. })) if needed <= MAX_HEADER_LEN => {
                out = Scratch::zeroed(needed);
                self.rewrap_into(source, &mut out, pool)?;
            }
            other => other?,
        }
        let slot = out.slot().ok_or(SlotFault::None)?;
        if !self.options.trust_backend {
            // SPEC R-PROOF
            self.unwrap_verified(&slot).map_err(|error| match error {
                KeyringError::Unavailable { source } => KeyringError::Unavailable { source },
                _ => SlotFault::Unproven.into(),
            })?;
        }
        Ok(out)
    }

    fn rewrap_into<R>(
        &self,
        source: &Slot<'_>,
        out: &mut Scratch,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<(), KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let context = WrapContext::new(self.header.core());
        let suite = self.header.suite();
        // SPEC R-NAME: no other name is accepted.
        let mut writer = SlotWriter::new(out.as_mut_bytes(), suite, Some(self.name));
        self.keyring.rewrap(source, &context, &mut writer, pool)?;
        match writer.slots().len() {
            0 => Err(SlotFault::None.into()),
            1 => Ok(()),
            _ => Err(SlotFault::TooMany.into()),
        }
    }

    fn unwrap_verified(&self, slot: &Slot<'_>) -> Result<(), KeyringError> {
        let mut data_key = DataKey::empty();
        let context = WrapContext::new(self.header.core());
        unwrap_verified(self.keyring, slot, &context, &mut data_key)
    }
}
