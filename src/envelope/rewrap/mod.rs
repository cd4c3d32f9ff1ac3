//! Rewrap: the same data key under the primary version; the body is not touched.

mod name;
mod scratch;

use super::WithRng;
use super::decrypt::{Failures, unwrap_verified};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, KeyVersion, MAX_SLOTS, Slot, SlotLabel};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext};
use crate::random::RandomPool;
use alloc::vec::Vec;
use core::fmt;
use name::{NameJob, Outcome};
use rand_core::TryCryptoRng;
use scratch::Scratch;

/// What a rewrap is asked to make sure of.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewrapOptions<'a> {
    retiring: Option<(&'a str, KeyVersion)>,
    compromised: [Option<(&'a str, KeyVersion)>; MAX_SLOTS],
    trust_backend: bool,
}

impl<'a> RewrapOptions<'a> {
    /// The usual: verify the old slot and the new one.
    pub const fn new() -> Self {
        RewrapOptions { retiring: None, compromised: [None; MAX_SLOTS], trust_backend: false }
    }

    /// Refuses with [`Error::OldVersionStillOpens`] if `version` of the key `name` would still
    /// open the new header: because it is still the primary, because another slot is under it, or
    /// because the keyring takes the new slot for one of `version` as well.
    ///
    /// A slot of that version that this keyring does not know, or cannot ask about now, is an
    /// error too: nobody here can tell. One that the keyring refuses by its state does not open.
    #[must_use]
    pub const fn retiring(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.retiring = Some((name, version));
        self
    }

    /// Rewraps slots under `version` of the key `name` although it is marked compromised.
    ///
    /// Without this the whole rewrap fails with [`Error::Refused`] and nothing is written, even
    /// if other slots would open: nobody must believe that a rewrap has mended the message.
    /// Several versions are named by several calls, as many as a header has slots (16); what is
    /// named beyond that stays refused. A version that is not compromised is rewrapped anyway.
    ///
    /// # Security
    ///
    /// Whoever holds the compromised key has, or can have, the data key of every message that was
    /// ever under it. A rewrap restores nothing there: it only lets the version go. Decrypting
    /// and encrypting anew restores the secrecy of what is not read yet. Nothing restores
    /// authenticity: the message may have been made by whoever holds the key.
    #[must_use]
    pub fn from_compromised(mut self, name: &'a str, version: KeyVersion) -> Self {
        let free = self.compromised.iter_mut().find(|named| named.is_none());
        if let Some(free) = free {
            *free = Some((name, version));
        }
        self
    }

    /// Whether a slot with this label may be rewrapped although its version is compromised.
    fn names_compromised(&self, label: &SlotLabel<'_>) -> bool {
        self.compromised.contains(&Some((label.name.as_str(), label.version)))
    }

    /// Leaves all verification to a backend that re-encrypts on its own side, so that the data
    /// key never enters this process; for processes that may rewrap and not decrypt.
    ///
    /// # Security
    ///
    /// If the backend wraps another key, the message is lost, and nobody notices before it is
    /// read. It makes sense only with a keyring that overrides [`Keyring::rewrap`]; that method
    /// is then also what decides whether a slot opens. [`retiring`](Self::retiring) goes by
    /// labels alone.
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
    /// See [`Envelope::rewrap`](crate::Envelope::rewrap).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewrap(&mut self, message: &[u8], options: RewrapOptions<'_>) -> Result<Rewrap, Error> {
        let old = Header::parse(message)?;
        let (header, changed) = match self.new_header(&old, options, Growth::Allowed)? {
            Some(new) => (new.as_bytes().to_vec(), true),
            None => (old.as_bytes().to_vec(), false),
        };
        Ok(Rewrap { header, changed })
    }

    /// See [`Envelope::rewrap_in_place`](crate::Envelope::rewrap_in_place).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewrap_in_place(
        &mut self,
        message: &mut [u8],
        options: RewrapOptions<'_>,
    ) -> Result<bool, Error> {
        let old = Header::parse(message)?;
        let len = old.len();
        let Some(new) = self.new_header(&old, options, Growth::Refused)? else { return Ok(false) };
        let room = message.get_mut(..len).unwrap_or_default();
        room.copy_from_slice(new.as_bytes());
        Ok(true)
    }

    /// Builds the new header beside the old one, or returns `None` if nothing changes (SPEC
    /// R-IDEMPOTENT). Whatever fails, the old one is whole (SPEC R-WHOLE).
    fn new_header(
        &mut self,
        old: &Header<'_>,
        options: RewrapOptions<'_>,
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
            let header = latest(&current, old)?;
            let job = NameJob { keyring, name, options, growth };
            match job.run(&header, &mut pool)? {
                Outcome::NotMine => {}
                Outcome::Current => opened = true,
                Outcome::Changed(new) => {
                    opened = true;
                    current = Some(new);
                }
            }
        }
        if !opened {
            return Err(Failures::default().into_error(old));
        }
        if let Some((name, version)) = options.retiring {
            let new = latest(&current, old)?;
            let opener = Opener { keyring, header: &new, options };
            opener.check_retired(old, name, version)?;
        }
        Ok(current)
    }
}

#[cfg(all(feature = "file", unix))]
impl<K: Keyring> super::Envelope<K> {
    /// Makes sure that a slot of `header` opens.
    pub(crate) fn check_opens(&self, header: &[u8]) -> Result<(), Error> {
        let header = Header::parse_detached(header)?;
        let context = WrapContext::new(header.core());
        let mut failures = Failures::default();
        for slot in header.slots() {
            match verify_slot(&self.keyring, &context, &slot) {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(&slot, error),
            }
        }
        Err(failures.into_error(&header))
    }
}

/// The header as it stands: the one under construction, or the old one.
fn latest<'h>(current: &'h Option<Scratch>, old: &Header<'h>) -> Result<Header<'h>, Error> {
    match current {
        Some(current) => Header::parse_detached(current.as_bytes()),
        None => Ok(*old),
    }
}

/// Unwraps a slot and checks the data key, which is then wiped.
fn verify_slot<K: Keyring>(
    keyring: &K,
    context: &WrapContext<'_>,
    slot: &Slot<'_>,
) -> Result<(), KeyringError> {
    let mut data_key = DataKey::empty();
    unwrap_verified(keyring, slot, context, &mut data_key)
}

/// Whether the new header may be longer than the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    Allowed,
    Refused,
}

/// Tries slots on the data key of a new header.
struct Opener<'a, K> {
    keyring: &'a K,
    header: &'a Header<'a>,
    options: RewrapOptions<'a>,
}

impl<K: Keyring> Opener<'_, K> {
    /// Whether `slot` opens; an error if the keyring cannot tell.
    fn opens(&self, slot: &Slot<'_>, context: &WrapContext<'_>) -> Result<bool, Error> {
        if self.options.trust_backend {
            let freshness = self.keyring.freshness(&slot.label).map_err(Error::from_wrap)?;
            return Ok(freshness != Freshness::NotMine);
        }
        match verify_slot(self.keyring, context, slot) {
            Ok(()) => Ok(true),
            Err(error @ KeyringError::Refused(Refusal::UnknownVersion)) => {
                Err(Failures::of(slot, error).into_error(self.header))
            }
            Err(
                KeyringError::NotMine | KeyringError::Refused(_) | KeyringError::Authentication,
            ) => Ok(false),
            Err(error) => Err(Error::from_wrap(error)),
        }
    }

    /// Makes sure that `version` of the key `name` does not open the new header.
    fn check_retired(
        &self,
        old: &Header<'_>,
        name: &str,
        version: KeyVersion,
    ) -> Result<(), Error> {
        let named = |slot: &Slot<'_>| slot.label.name.as_str() == name;
        let retired = |slot: &Slot<'_>| named(slot) && slot.label.version == version;
        let still_opens = || Error::OldVersionStillOpens { key: name.into(), version };
        let context = WrapContext::new(self.header.core());
        for slot in self.header.slots().filter(retired) {
            if self.opens(&slot, &context)? {
                return Err(still_opens());
            }
        }
        if self.options.trust_backend {
            return Ok(());
        }
        let probing = WrapContext::probing(self.header.core());
        // A keyring that ignores the wrap AAD takes the new wrap for one of the old version.
        for retired in old.slots().filter(retired) {
            let same_kind = |new: &Slot<'_>| {
                named(new) && new.label.algorithm == retired.label.algorithm && *new != retired
            };
            for new in self.header.slots().filter(same_kind) {
                let slot = Slot { label: retired.label, wrapped_key: new.wrapped_key };
                if self.opens(&slot, &probing)? {
                    return Err(still_opens());
                }
            }
        }
        Ok(())
    }
}
