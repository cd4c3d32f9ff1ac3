//! Addition of slots for another keyring, and removal of the slots of a name (SPEC 6.1).

use super::NamedVersions;
use super::add::Grant;
use super::write::NewHeader;
use crate::crypto::secret::DataKey;
use crate::envelope::Envelope;
use crate::envelope::decrypt::SlotFailures;
use crate::error::Error;
use crate::format::{Header, KeyVersion, Slot};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal, WrapContext, unwrap_verified};
use crate::random::{RandomPool, RandomSource};
use alloc::vec::Vec;
use core::fmt;

/// Options of an [`add_slot`](crate::Envelope::add_slot).
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantOptions<'a> {
    pub(super) compromised: NamedVersions<'a>,
    pub(super) trust_wrap: bool,
}

impl<'a> GrantOptions<'a> {
    /// Returns the default: compromised versions are not opened, and each new slot is verified.
    pub const fn new() -> Self {
        GrantOptions { compromised: NamedVersions::NONE, trust_wrap: false }
    }

    /// Opens slots under `version` of the key `name` although it is marked compromised.
    ///
    /// Call it once for each version, up to 16 times; further versions stay refused.
    ///
    /// # Security
    ///
    /// The holder of the compromised key may have written the message. The new slot opens it under another
    /// key, and its origin cannot be recognised later.
    #[must_use]
    pub fn from_compromised(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.compromised = self.compromised.with(name, version);
        self
    }

    /// Skips the unwrap of new slots. For a keyring that cannot unwrap here, such as an escrow key whose
    /// private half is in a safe.
    ///
    /// # Security
    ///
    /// A slot that wraps another key is useless, which only its first use detects. An existing slot of the
    /// same name, version and master key id is relied on by its label, which anyone can write.
    #[must_use]
    pub const fn trusting_wrap(mut self) -> Self {
        self.trust_wrap = true;
        self
    }
}

/// The new header of a message after slots were added or removed.
#[must_use = "it holds the new header"]
pub struct HeaderUpdate {
    header: NewHeader,
    is_changed: bool,
}

impl HeaderUpdate {
    /// Returns the new header. If nothing changed, it equals the old one.
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// Returns the new header by value.
    pub fn into_header(self) -> Vec<u8> {
        self.header.into_vec()
    }

    /// Overwrites the header of `message`, whose padding ([`Envelope::with_reserved`]) has the room for new
    /// slots. Allocates nothing, nor does the change itself for headers of up to 1 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderRoom`] with the length that the slots need if the header is too short;
    /// [`Error::OtherMessage`] if `message` has another core; [`Error::NotEnvelock`], [`Error::Header`] or
    /// [`Error::Truncated`] if it has no header. Nothing is then changed.
    pub fn write_over(&self, message: &mut [u8]) -> Result<(), Error> {
        self.header.write_over(message)
    }

    /// Returns whether the header differs from the old one.
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
    /// Adds slots of another keyring and returns the new header. For an escrow copy, a second
    /// region, or the first step of a move to a key of another name
    /// ([`remove_name`](Self::remove_name) is the second).
    ///
    /// `message` is a message or its header alone. No byte of the body changes. This keyring opens
    /// the message, and `to` wraps its data key under its primaries. To store the header, compare and
    /// swap.
    ///
    /// - The new slots come after the existing ones, which stay byte for byte, in order.
    /// - An existing slot of the same name, version and id stays if it opens with `to`, and is replaced
    ///   in its position otherwise. If all slots exist and open, nothing changes and nothing is wrapped, so
    ///   that a job can be repeated. A slot of an older version stays; a rewrap by `to` merges it.
    /// - Each new slot is unwrapped by `to` and verified before this returns, unless
    ///   [`GrantOptions::trusting_wrap`].
    /// - A slot under a version that is marked compromised is not opened, unless
    ///   [`GrantOptions::from_compromised`] names it.
    /// - The header grows as in a [`rewrap`](Self::rewrap).
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
    /// - [`Error::NotEnvelock`], [`Error::Header`], [`Error::Truncated`]: the bytes are not a header.
    /// - [`Error::Backend`], [`Error::Refused`], [`Error::NoKey`], [`Error::Authentication`]: no slot opens.
    ///   With [`Refusal::Compromised`], only a slot under this compromised version does.
    /// - [`Error::NoPrimary`], [`Error::Backend`], [`Error::Refused`], [`Error::Randomness`]: `to` did not
    ///   wrap.
    /// - [`Error::Slot`] with [`SlotFault::Unproven`](crate::format::SlotFault::Unproven) if a new slot does not open, with
    ///   [`SlotFault::TooMany`](crate::format::SlotFault::TooMany) beyond 16.
    /// - [`Error::HeaderRoom`]: the header would have more than 65,535 bytes.
    ///
    /// # Security
    ///
    /// The holder of a key of `to` can open the message from now on and keep its data key.
    /// [`remove_name`](Self::remove_name) does not revert that.
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
        let mut header = NewHeader::empty();
        let mut pool = RandomPool::for_rewrap(&self.random);
        let is_changed = grant.run(&mut header, self.reserved, &mut pool)?;
        if !is_changed {
            header.keep(&old);
        }
        Ok(HeaderUpdate { header, is_changed })
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Removes all slots of the key `name` from the header and returns the new one, which has the
    /// length of the old one.
    ///
    /// `message` is a message or its header alone. A slot of another name has to open with this
    /// keyring first, under a version that is not marked compromised, so that the last slot that opens is
    /// never removed. `name` is the name of slots, never an alias. The other slots stay byte for byte,
    /// in order.
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
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header;
    /// [`Error::MissingSlot`] if no slot has the name; [`Error::LastSlot`] if no slot of another name
    /// opens; [`Error::Backend`] if that is unknown. Nothing is then changed.
    ///
    /// # Security
    ///
    /// **This is no revocation.** A former reader may have kept the data key, and an old copy of the header
    /// restores the slot. A new encryption revokes, and so does the destruction of the key.
    pub fn remove_name(&self, message: &[u8], name: &str) -> Result<HeaderUpdate, Error> {
        let old = Header::parse(message)?;
        self.check_removable(&old, name)?;
        let mut header = NewHeader::empty();
        header.write(&old, || old.slots().filter(|slot| slot.label.name.as_str() != name), 0)?;
        Ok(HeaderUpdate { header, is_changed: true })
    }

    /// Checks that a slot of another name opens.
    fn check_removable(&self, old: &Header<'_>, name: &str) -> Result<(), Error> {
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
        )
    }
}

/// Unwraps the first of `slots` that opens. Compromised versions are refused unless named (SPEC G-OPEN).
pub(super) fn open_one<'h, K: Keyring + ?Sized>(
    keyring: &K,
    header: &Header<'_>,
    slots: impl Iterator<Item = Slot<'h>>,
    named: &NamedVersions<'_>,
    data_key: &mut DataKey,
) -> Result<(), SlotFailures<'h>> {
    let context = WrapContext::new(header.core());
    let mut failures = SlotFailures::default();
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
