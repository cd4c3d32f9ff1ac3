//! Examination of the slots of a header, without the body.

use super::Envelope;
use super::decrypt::SlotFailures;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, MAX_SLOTS, Slot, SlotLabel};
use crate::keyring::{Keyring, KeyringError, WrapContext, unwrap_verified};
use core::fmt;

/// The result of the unwrap of one slot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SlotFinding {
    /// It opens: the keyring unwrapped it, and the data key belongs to the message (SPEC K-CHECK).
    Opened,
    /// The keyring unwrapped it to a key that does not belong to the message. The holder of the master
    /// key made such a slot, or the keyring is faulty.
    OtherDataKey,
    /// The keyring did not unwrap it, for this reason.
    NotOpened(KeyringError),
}

impl SlotFinding {
    /// Returns whether the slot opens.
    pub fn is_opened(&self) -> bool {
        matches!(self, SlotFinding::Opened)
    }
}

/// The findings about each slot of a header; created by [`Envelope::examine`].
#[derive(Clone)]
#[must_use]
pub struct Examination<'m> {
    header: Header<'m>,
    findings: [SlotFinding; MAX_SLOTS],
}

impl<'m> Examination<'m> {
    /// Returns the header. Labels of slots that do not open are unverified.
    pub fn header(&self) -> &Header<'m> {
        &self.header
    }

    /// Returns each slot, in order, with its finding.
    pub fn slots(&self) -> impl Iterator<Item = (Slot<'m>, &SlotFinding)> {
        self.header.slots().zip(&self.findings)
    }

    /// Returns the labels of the slots that open, in order. These are verified.
    pub fn opened(&self) -> impl Iterator<Item = SlotLabel<'m>> {
        let opened = self.slots().filter(|(_, finding)| finding.is_opened());
        opened.map(|(slot, _)| slot.label)
    }
}

impl fmt::Debug for Examination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.slots().map(|(slot, finding)| (slot.label, finding));
        f.debug_list().entries(slots).finish()
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Unwraps and checks every slot of a header, and reports for each whether it opens, or why not.
    ///
    /// `message` is a message or its header alone: neither body nor associated data is needed. A failure of one
    /// slot does not stop the others. Every slot of this keyring costs an unwrap.
    ///
    /// A slot that opens has a verified label. Use this to count messages that still need a version, in
    /// any slot.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring, MultiKeyring, SlotFinding, keyring::KeyringError};
    ///
    /// let (orders, escrow) = (MemoryKeyring::create("orders")?, MemoryKeyring::create("escrow")?);
    /// let orders = std::sync::Arc::new(orders);
    /// let both = Envelope::new(MultiKeyring::new(orders.clone()).with(escrow)?);
    /// let message = both.encrypt(b"payload", Aad::none())?;
    /// let envelope = Envelope::new(&orders);
    /// let examined = envelope.examine(&message)?;
    /// let findings: Vec<_> = examined.slots().map(|(slot, finding)| (slot.label.name, finding)).collect();
    /// assert!(matches!(findings[0], (name, SlotFinding::Opened) if name.as_str() == "orders"));
    /// assert!(matches!(findings[1], (_, SlotFinding::NotOpened(KeyringError::NotMine))));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header.
    #[doc(alias = "census")]
    pub fn examine<'m>(&self, message: &'m [u8]) -> Result<Examination<'m>, Error> {
        let header = Header::parse(message)?;
        let mut findings = [const { SlotFinding::NotOpened(KeyringError::NotMine) }; MAX_SLOTS];
        for (slot, finding) in header.slots().zip(&mut findings) {
            *finding = self.examine_slot(&header, &slot);
        }
        Ok(Examination { header, findings })
    }

    fn examine_slot(&self, header: &Header<'_>, slot: &Slot<'_>) -> SlotFinding {
        let context = WrapContext::new(header.core());
        let mut data_key = DataKey::empty();
        match self.keyring.unwrap(slot, &context, &mut data_key) {
            Err(error) => SlotFinding::NotOpened(error),
            // SPEC K-CHECK
            Ok(()) => match context.verify(&data_key) {
                Ok(()) => SlotFinding::Opened,
                Err(_) => SlotFinding::OtherDataKey,
            },
        }
    }

    /// Checks that a slot of each of `names` opens with this keyring.
    ///
    /// A slot that no reader opens can be removed or damaged, and the message still decrypts (SPEC
    /// 2.2). A caller that relies on such a slot, as on an escrow copy, verifies it with a keyring that has
    /// its key, or a `MultiKeyring` for several. `message` is a message or its header alone. `names`
    /// are names of slots, never aliases.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, Error, MemoryKeyring, MultiKeyring};
    ///
    /// let (orders, escrow) = (MemoryKeyring::create("orders")?, MemoryKeyring::create("escrow")?);
    /// let orders = std::sync::Arc::new(orders);
    /// let both = Envelope::new(MultiKeyring::new(orders.clone()).with(escrow)?);
    /// let message = both.encrypt(b"payload", Aad::none())?;
    /// both.verify_slots(&message, &["orders", "escrow"])?;
    /// let message = Envelope::new(&orders).encrypt(b"payload", Aad::none())?;
    /// let missing = both.verify_slots(&message, &["orders", "escrow"]);
    /// assert!(matches!(missing, Err(Error::MissingSlot { key, .. }) if key == "escrow"));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header. For the
    /// first name of which no slot opens: [`Error::MissingSlot`] if no slot has it; [`Error::NoKey`] with
    /// that name if its slots belong to another keyring; [`Error::Backend`], [`Error::Refused`] or
    /// [`Error::Authentication`] otherwise.
    #[doc(alias = "require_slots")]
    pub fn verify_slots(&self, message: &[u8], names: &[&str]) -> Result<(), Error> {
        let header = Header::parse(message)?;
        names.iter().try_for_each(|name| self.verify_name(&header, name))
    }

    fn verify_name(&self, header: &Header<'_>, name: &str) -> Result<(), Error> {
        let context = WrapContext::new(header.core());
        let mut data_key = DataKey::empty();
        let mut failures = SlotFailures::default();
        let slots = || header.slots().filter(|slot| slot.label.name.as_str() == name);
        for slot in slots() {
            match unwrap_verified(&*self.keyring, &slot, &context, &mut data_key) {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(&slot, error),
            }
        }
        match slots().next() {
            Some(_) => Err(failures.into_error(header)),
            None => Err(Error::MissingSlot { key: name.into() }),
        }
    }
}
