//! Who can open a message: slots for another keyring, and the slots of a name taken out (SPEC 6.1).

use super::NamedVersions;
use super::add::Grant;
use super::write::{NewHeader, new_header};
use crate::crypto::secret::DataKey;
use crate::envelope::Envelope;
use crate::envelope::decrypt::Failures;
use crate::envelope::scratch::Scratch;
use crate::error::Error;
use crate::format::{Header, KeyVersion, Slot};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext, unwrap_verified};
use crate::random::{RandomPool, RandomSource};
use alloc::vec::Vec;
use core::fmt;

/// What an [`add_slot`](crate::Envelope::add_slot) is asked to make sure of.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantOptions<'a> {
    pub(super) compromised: NamedVersions<'a>,
    pub(super) trust_wrap: bool,
}

impl<'a> GrantOptions<'a> {
    /// The usual: open no compromised version, and verify each new slot.
    pub const fn new() -> Self {
        GrantOptions { compromised: NamedVersions::NONE, trust_wrap: false }
    }

    /// Opens slots under `version` of the key `name` although it is marked compromised.
    ///
    /// Several versions are named by several calls, as many as a header has slots (16); what is
    /// named beyond that stays refused.
    ///
    /// # Security
    ///
    /// The holder of the compromised key can have made the message. The new slot opens it under a
    /// sound key, and nothing shows later where the message came from.
    #[must_use]
    pub fn from_compromised(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.compromised = self.compromised.with(name, version);
        self
    }

    /// Leaves out the proof by the keyring that wraps; for one that cannot unwrap here, such as
    /// an escrow key whose other half is in a safe.
    ///
    /// # Security
    ///
    /// If it wraps another key, its slot is worth nothing, and nobody notices before it is needed.
    /// A slot of the same name, version and master key id that is in the header already is then
    /// believed by its label, which anyone can write.
    #[must_use]
    pub const fn trusting_wrap(mut self) -> Self {
        self.trust_wrap = true;
        self
    }
}

/// The header of a message after a change of who can open it.
#[must_use = "it holds the new header"]
pub struct HeaderUpdate {
    header: NewHeader,
    is_changed: bool,
}

impl HeaderUpdate {
    fn new(old: &Header<'_>, new: Option<Scratch>) -> Self {
        let is_changed = new.is_some();
        HeaderUpdate { header: NewHeader::new(old, new), is_changed }
    }

    /// The header now; byte for byte the old one if nothing changed.
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// The header now, by value.
    pub fn into_header(self) -> Vec<u8> {
        self.header.into_vec()
    }

    /// Writes the header over that of `message`, which keeps its length: room for new slots comes from
    /// its padding ([`Envelope::with_reserved`]). Allocates nothing, nor does the change itself for
    /// headers of up to 1 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderRoom`] with the length that the slots need if they have outgrown the header;
    /// [`Error::OtherMessage`]; what is wrong with the header of `message`. Nothing is then changed.
    pub fn write_over(&self, message: &mut [u8]) -> Result<(), Error> {
        self.header.write_over(message)
    }

    /// Whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }
}

impl fmt::Debug for HeaderUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderUpdate")
            .field("header_len", &self.header().len())
            .field("is_changed", &self.is_changed)
            .finish()
    }
}

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Adds slots that another keyring wraps, and returns the new header: an escrow copy, a second
    /// region, the first half of a move to a key of another name
    /// ([`remove_name`](Self::remove_name) is the second).
    ///
    /// `message` is a message or its header alone; no byte of the body changes. This keyring opens
    /// the message, `to` wraps its data key under its primaries. To store the header, compare and
    /// swap.
    ///
    /// - The new slots stand behind those that are there, which stay byte for byte, in order.
    /// - A slot of the same name, version and id that is in the header already and opens with `to`
    ///   is left, so that a job can begin again: where all are there, nothing changes and nothing
    ///   is wrapped. One that does not open gives its place to the new one. A slot of an older
    ///   version stays; a rewrap by `to` merges it.
    /// - Each new slot is unwrapped by `to` and verified before this returns, unless
    ///   [`GrantOptions::trusting_wrap`].
    /// - A slot under a version that is marked compromised is not opened, unless
    ///   [`GrantOptions::from_compromised`] names it.
    /// - The header grows as that of a [`rewrap`](Self::rewrap).
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, GrantOptions, MemoryKeyring};
    ///
    /// let (orders, escrow) = (MemoryKeyring::create("orders")?, MemoryKeyring::create("escrow")?);
    /// let envelope = Envelope::new(&orders);
    /// let message = envelope.encrypt(b"payload", Aad::none())?;
    /// let header = envelope.add_slot(&message, &escrow, GrantOptions::new())?.into_header();
    /// for keyring in [&orders, &escrow] {
    ///     let key = Envelope::new(keyring).open(&header)?;
    ///     assert_eq!(key.decrypt(key.body(&message)?, Aad::none())?, b"payload");
    /// }
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the header; if no slot opens, why, as [`decrypt`](Self::decrypt) says it,
    /// with [`Refusal::Compromised`](crate::keyring::Refusal::Compromised) and the version to be named; from
    /// `to` as [`encrypt`](Self::encrypt); [`Error::Slot`] with
    /// [`SlotFault::Unproven`](crate::format::SlotFault::Unproven) if a new slot does not open, or
    /// [`SlotFault::TooMany`](crate::format::SlotFault::TooMany) beyond 16; [`Error::HeaderRoom`] beyond
    /// 65,535 bytes. Nothing is then changed.
    ///
    /// # Security
    ///
    /// The holder of a key of `to` can open the message from now on, and has its data key: no
    /// [`remove_name`](Self::remove_name) takes that back.
    #[doc(alias = "grant")]
    #[doc(alias = "escrow")]
    pub fn add_slot<T: Keyring + ?Sized>(
        &self,
        message: &[u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<HeaderUpdate, Error> {
        let old = Header::parse(message)?;
        let grant = Grant { from: &*self.keyring, to, old: &old, options };
        let new = grant.run(self.reserved, &mut RandomPool::for_rewrap(&self.random))?;
        Ok(HeaderUpdate::new(&old, new))
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Takes all slots of the key `name` out of the header and returns the new one, which has the
    /// old one's length.
    ///
    /// `message` is a message or its header alone. A slot of another name has to open with this
    /// keyring first, under a version that is not marked compromised: the last slot that opens is
    /// never taken. `name` is that of slots, never an alias; all its slots go, whatever their
    /// version, material and algorithm. The others stay byte for byte, in order.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, GrantOptions, MemoryKeyring};
    ///
    /// let (old, new) = (MemoryKeyring::create("eu-1")?, MemoryKeyring::create("eu-2")?);
    /// let message = Envelope::new(&old).encrypt(b"payload", Aad::none())?;
    /// let header = Envelope::new(&old).add_slot(&message, &new, GrantOptions::new())?.into_header();
    /// let header = Envelope::new(&new).remove_name(&header, "eu-1")?.into_header();
    /// let key = Envelope::new(&new).open(&header)?;
    /// assert_eq!(key.decrypt(key.body(&message)?, Aad::none())?, b"payload");
    /// assert!(Envelope::new(&old).open(&header).is_err());
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the header; [`Error::MissingSlot`] if no slot is of that name;
    /// [`Error::LastSlot`] if no slot of another name opens; [`Error::Backend`] and the like if
    /// that is not known. Nothing is then changed.
    ///
    /// # Security
    ///
    /// **This is no revocation.** A former reader may have kept the data key, and
    /// an old copy of the header puts the slot back. Re-encryption revokes; so does the
    /// destruction of the key, once nothing needs it.
    pub fn remove_name(&self, message: &[u8], name: &str) -> Result<HeaderUpdate, Error> {
        let old = Header::parse(message)?;
        let new = self.without_name(&old, name)?;
        Ok(HeaderUpdate::new(&old, Some(new)))
    }

    fn without_name(&self, old: &Header<'_>, name: &str) -> Result<Scratch, Error> {
        let is_kept = |slot: &Slot<'_>| slot.label.name.as_str() != name;
        if old.slots().all(|slot| is_kept(&slot)) {
            return Err(Error::MissingSlot { key: name.into() });
        }
        // SPEC G-REMOVE
        let last = || Error::LastSlot { key: name.into() };
        let mut data_key = DataKey::empty();
        let others = old.slots().filter(is_kept);
        open_one(&*self.keyring, old, others, &NamedVersions::NONE, &mut data_key).map_err(
            |failures| match failures.into_error(old) {
                Error::Refused { refusal, .. } if !refusal.is_retryable() => last(),
                Error::NoKey { .. } | Error::Authentication { .. } => last(),
                error => error,
            },
        )?;
        new_header(old, || old.slots().filter(is_kept), 0)
    }
}

/// Opens the first of `slots` that opens, and is under no compromised version but those that are
/// named (SPEC G-OPEN).
pub(super) fn open_one<'h, K: Keyring + ?Sized>(
    keyring: &K,
    header: &Header<'_>,
    slots: impl Iterator<Item = Slot<'h>>,
    named: &NamedVersions<'_>,
    data_key: &mut DataKey,
) -> Result<(), Failures<'h>> {
    let context = WrapContext::new(header.core());
    let mut failures = Failures::default();
    for slot in slots {
        let refused = match keyring.freshness(&slot.label) {
            // A state refuses before any call to a backend.
            Ok(Freshness::Refused(refusal)) if refusal != Refusal::UnknownVersion => Some(refusal),
            Ok(Freshness::Compromised) if !named.has(&slot.label) => Some(Refusal::Compromised),
            Ok(_) => None,
            Err(error) => {
                failures.add(&slot, error);
                continue;
            }
        };
        let opened = match refused {
            Some(refusal) => Err(KeyringError::Refused(refusal)),
            None => unwrap_verified(keyring, &slot, &context, data_key),
        };
        match opened {
            Ok(()) => return Ok(()),
            Err(error) => failures.add(&slot, error),
        }
    }
    Err(failures)
}
