//! Rewrap: the same data key under the primary version; the body is not touched.

use super::decrypt::{Failures, unwrap_verified};
use super::scratch::Scratch;
use super::WithRng;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, KeyName, KeyVersion, Slot, SlotFault, SlotSet, SlotWriter, replace_slots};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext};
use crate::random::RandomPool;
use alloc::vec::Vec;
use core::fmt;
use rand_core::TryCryptoRng;

/// What a rewrap is asked to make sure of.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewrapOptions {
    retiring: Option<KeyVersion>,
    trust_backend: bool,
}

impl RewrapOptions {
    /// The usual: verify the old slot and the new one.
    pub const fn new() -> Self {
        RewrapOptions { retiring: None, trust_backend: false }
    }

    /// Refuses with [`Error::OldVersionStillOpens`] if `version` of a key of this keyring would
    /// still open the new header: because it is still the primary, because another slot is under
    /// it, or because the keyring takes the new slot for one of `version` as well.
    #[must_use]
    pub const fn retiring(mut self, version: KeyVersion) -> Self {
        self.retiring = Some(version);
        self
    }

    /// Leaves all verification to a backend that re-encrypts on its own side, so that the data
    /// key never enters this process; for processes that may rewrap and not decrypt.
    ///
    /// # Security
    ///
    /// If the backend wraps another key, the message is lost, and nobody notices before it is
    /// read. It has an effect only with a keyring that overrides [`Keyring::rewrap`].
    #[must_use]
    pub const fn trusting_backend(mut self) -> Self {
        self.trust_backend = true;
        self
    }
}

/// The outcome of a rewrap.
#[derive(Clone, PartialEq, Eq)]
pub struct Rewrap {
    header: Vec<u8>,
    changed: bool,
}

impl Rewrap {
    /// The header now; byte for byte the old one if nothing changed.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The header now, by value.
    pub fn into_header(self) -> Vec<u8> {
        self.header
    }

    /// Whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.changed
    }
}

impl fmt::Debug for Rewrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrap")
            .field("header_len", &self.header.len())
            .field("changed", &self.changed)
            .finish()
    }
}

impl<K: Keyring, R: TryCryptoRng + ?Sized> WithRng<'_, K, R> {
    /// See [`Envelope::rewrap`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewrap(&mut self, message: &[u8], options: RewrapOptions) -> Result<Rewrap, Error> {
        let old = Header::parse(message)?;
        let (header, changed) = match self.new_header(&old, options, Growth::Allowed)? {
            Some(new) => (new.as_bytes().to_vec(), true),
            None => (old.as_bytes().to_vec(), false),
        };
        Ok(Rewrap { header, changed })
    }

    /// See [`Envelope::rewrap_in_place`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewrap_in_place(
        &mut self,
        message: &mut [u8],
        options: RewrapOptions,
    ) -> Result<bool, Error> {
        let old = Header::parse(message)?;
        let len = old.len();
        let Some(new) = self.new_header(&old, options, Growth::Refused)? else { return Ok(false) };
        let room = message.get_mut(..len).unwrap_or_default();
        room.copy_from_slice(new.as_bytes());
        Ok(true)
    }

    /// Builds the new header beside the old one, or returns `None` if nothing changes. Whatever
    /// fails, the old one is whole.
    fn new_header(
        &mut self,
        old: &Header<'_>,
        options: RewrapOptions,
        growth: Growth,
    ) -> Result<Option<Scratch>, Error> {
        let keyring = &self.envelope.keyring;
        let mut pool = RandomPool::for_rewrap(self.rng);
        let mut current: Option<Scratch> = None;
        let mut opened = false;
        for (index, slot) in old.slots().enumerate() {
            let name = slot.label.name;
            if old.slots().take(index).any(|earlier| earlier.label.name == name) {
                continue;
            }
            let header = match &current {
                Some(current) => Header::parse_detached(current.as_bytes())?,
                None => *old,
            };
            let job = NameJob { keyring, header: &header, name, options };
            match job.run(&mut pool)? {
                Outcome::NotMine => {}
                Outcome::Current => opened = true,
                Outcome::Replace { slot, replaced } => {
                    opened = true;
                    let next = rebuild(&header, &slot, replaced, growth)?;
                    current = Some(next);
                }
            }
        }
        if !opened {
            return Err(Failures::default().into_error(old));
        }
        if let Some(version) = options.retiring {
            let new = match &current {
                Some(current) => Header::parse_detached(current.as_bytes())?,
                None => *old,
            };
            check_retired(keyring, old, &new, version)?;
        }
        Ok(current)
    }
}

/// Whether the new header may be longer than the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    Allowed,
    Refused,
}

/// The new header: as long as the old one, so that it can take its place, or as long as needed.
fn rebuild(
    header: &Header<'_>,
    slot: &Scratch,
    replaced: SlotSet,
    growth: Growth,
) -> Result<Scratch, Error> {
    let slot = slot.slot().ok_or(Error::Slot(SlotFault::None))?;
    let mut out = Scratch::zeroed(header.len());
    match replace_slots(header, &slot, replaced, out.as_mut_bytes()) {
        Err(Error::HeaderRoom { needed, .. }) if growth == Growth::Allowed => {
            out = Scratch::zeroed(needed);
            replace_slots(header, &slot, replaced, out.as_mut_bytes())?;
        }
        other => other?,
    }
    Ok(out)
}

/// The rewrap of the slots of one key name.
struct NameJob<'a, K> {
    keyring: &'a K,
    header: &'a Header<'a>,
    name: KeyName<'a>,
    options: RewrapOptions,
}

/// What is to be done about the slots of one key name.
enum Outcome {
    /// None is this keyring's.
    NotMine,
    /// The only one is under the primary, and verified.
    Current,
    /// `slot`, one encoded slot, takes the place of all in `replaced`.
    Replace { slot: Scratch, replaced: SlotSet },
}

impl<K: Keyring> NameJob<'_, K> {
    fn run<R>(&self, pool: &mut RandomPool<'_, R>) -> Result<Outcome, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let Some((source, replaced)) = self.find_source()? else { return Ok(Outcome::NotMine) };
        let fresh = self.freshness(&source)? == Freshness::Primary;
        if fresh && replaced.len() == 1 {
            return Ok(Outcome::Current);
        }
        let slot = if fresh { Scratch::of_slot(&source) } else { self.wrap_anew(&source, pool)? };
        Ok(Outcome::Replace { slot, replaced })
    }

    /// Finds a slot that opens, under the primary if there is one, and the set of slots that the
    /// new one makes superfluous.
    fn find_source(&self) -> Result<Option<(Slot<'_>, SlotSet)>, Error> {
        let mut source: Option<(Slot<'_>, bool)> = None;
        let mut replaced = SlotSet::default();
        let mut failures = Failures::default();
        for (index, slot) in self.header.slots().enumerate() {
            if slot.label.name != self.name {
                continue;
            }
            match self.verify(&slot) {
                Ok(()) => {
                    replaced.insert(index);
                    let fresh = self.freshness(&slot)? == Freshness::Primary;
                    if source.is_none_or(|(_, found_fresh)| fresh && !found_fresh) {
                        source = Some((slot, fresh));
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
            Some((slot, _)) => Ok(Some((slot, replaced))),
            None if failures.any() => Err(failures.into_error(self.header)),
            None => Ok(None),
        }
    }

    /// Whether a slot opens, or whose it is where the backend is trusted with that.
    fn verify(&self, slot: &Slot<'_>) -> Result<(), KeyringError> {
        if self.options.trust_backend {
            return match self.keyring.freshness(&slot.label)? {
                Freshness::NotMine => Err(KeyringError::NotMine),
                Freshness::Primary | Freshness::Stale => Ok(()),
            };
        }
        let mut data_key = DataKey::empty();
        unwrap_verified(self.keyring, slot, &WrapContext::new(self.header.core()), &mut data_key)
    }

    fn freshness(&self, slot: &Slot<'_>) -> Result<Freshness, Error> {
        self.keyring.freshness(&slot.label).map_err(Error::from_wrap)
    }

    /// Has the keyring wrap the data key of `source` anew, and verifies what comes out.
    fn wrap_anew<R>(
        &self,
        source: &Slot<'_>,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Scratch, Error>
    where
        R: TryCryptoRng + ?Sized,
    {
        let context = WrapContext::new(self.header.core());
        let mut out = Scratch::for_slot();
        let mut wrapped = self.rewrap_into(source, &context, &mut out, pool);
        if let Err(KeyringError::Slot(SlotFault::Room { needed, .. })) = wrapped {
            out = Scratch::zeroed(needed);
            wrapped = self.rewrap_into(source, &context, &mut out, pool);
        }
        wrapped.map_err(|error| match error {
            KeyringError::NotMine | KeyringError::Refused(_) => {
                let mut failures = Failures::default();
                failures.add(source, error);
                failures.into_error(self.header)
            }
            other => Error::from_wrap(other),
        })?;
        let slot = out.slot().ok_or(Error::Slot(SlotFault::None))?;
        if !self.options.trust_backend {
            // SPEC R-PROOF
            let mut data_key = DataKey::empty();
            unwrap_verified(self.keyring, &slot, &context, &mut data_key)
                .map_err(|_| Error::Authentication)?;
        }
        Ok(out)
    }

    fn rewrap_into<R>(
        &self,
        source: &Slot<'_>,
        context: &WrapContext<'_>,
        out: &mut Scratch,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<(), KeyringError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let suite = self.header.suite();
        // SPEC R-NAME: no other name is accepted.
        let mut writer = SlotWriter::new(out.as_mut_bytes(), suite, Some(self.name));
        self.keyring.rewrap(source, context, &mut writer, pool)?;
        match writer.slots().len() {
            0 => Err(SlotFault::None.into()),
            1 => Ok(()),
            _ => Err(SlotFault::TooMany.into()),
        }
    }
}

/// Makes sure that `version` of no key of this keyring opens `new` (option `retiring`).
fn check_retired<K: Keyring>(
    keyring: &K,
    old: &Header<'_>,
    new: &Header<'_>,
    version: KeyVersion,
) -> Result<(), Error> {
    let context = WrapContext::new(new.core());
    let mut data_key = DataKey::empty();
    let mut opens =
        |slot: &Slot<'_>| unwrap_verified(keyring, slot, &context, &mut data_key).is_ok();
    let still_opens = |slot: &Slot<'_>| {
        let key = slot.label.name.as_str().into();
        Err(Error::OldVersionStillOpens { key, version })
    };
    for slot in new.slots().filter(|slot| slot.label.version == version) {
        if opens(&slot) {
            return still_opens(&slot);
        }
    }
    // A keyring that ignores the wrap AAD takes the new wrap for one of the old version as well.
    for retired in old.slots().filter(|slot| slot.label.version == version) {
        let same_name = |slot: &Slot<'_>| slot.label.name == retired.label.name;
        for slot in new.slots().filter(same_name) {
            if opens(&Slot { label: retired.label, wrapped_key: slot.wrapped_key }) {
                return still_opens(&retired);
            }
        }
    }
    Ok(())
}
