//! Which slots of a header open, and why the others do not; without the body.

use super::Envelope;
use super::decrypt::Failures;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, MAX_SLOTS, Slot, SlotLabel};
use crate::keyring::{Keyring, KeyringError, WrapContext, unwrap_verified};
use core::fmt;

/// Whether one slot opens with a keyring.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SlotFinding {
    /// It opens: the keyring unwrapped it, and the data key is the message's (SPEC K-CHECK).
    Opened,
    /// The keyring unwrapped it to a key that is not the message's. The holder of
    /// the master key made such a slot, or the keyring is faulty.
    OtherDataKey,
    /// The keyring does not unwrap it, for this reason.
    NotOpened(KeyringError),
}

impl SlotFinding {
    /// Whether the slot opens.
    pub fn is_opened(&self) -> bool {
        matches!(self, SlotFinding::Opened)
    }
}

/// Whether each slot of a header opens with a keyring; made by [`Envelope::examine`].
#[derive(Clone)]
#[must_use]
pub struct Examination<'m> {
    header: Header<'m>,
    findings: [SlotFinding; MAX_SLOTS],
}

impl<'m> Examination<'m> {
    /// The header. What it says of slots that do not open is unverified.
    pub fn header(&self) -> &Header<'m> {
        &self.header
    }

    /// Each slot, in order, with the finding of the keyring.
    pub fn slots(&self) -> impl Iterator<Item = (Slot<'m>, &SlotFinding)> {
        self.header.slots().zip(&self.findings)
    }

    /// The labels of the slots that open, in order. These are proven.
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
    /// Unwraps and checks every slot of a header, and says of each whether it opens and why not.
    ///
    /// `message` is a message or its header alone: neither body nor associated data is needed. No
    /// slot keeps the others from being examined. Every slot of this keyring costs an unwrap.
    ///
    /// What opens is proven, which no label is: this is how to count what still needs a version,
    /// the slots behind the first included.
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
    /// What is wrong with the header.
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

    /// Makes sure that a slot of each of `names` opens with this keyring.
    ///
    /// A slot that no reader opens can be stripped or damaged without the body noticing (SPEC
    /// 2.2). Who relies on one, such as an escrow copy, verifies it here with a keyring that holds
    /// its key, a `MultiKeyring` for several. `message` is a message or its header alone; `names`
    /// are those of slots, never aliases.
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
    /// assert!(matches!(missing, Err(Error::MissingSlot { key }) if key == "escrow"));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the header. For the first name of which no slot opens:
    /// [`Error::MissingSlot`] if no slot has it; else why none opens, as
    /// [`decrypt`](Self::decrypt) says it, [`Error::NoKey`] with that name if it is not this
    /// keyring's.
    #[doc(alias = "require_slots")]
    pub fn verify_slots(&self, message: &[u8], names: &[&str]) -> Result<(), Error> {
        let header = Header::parse(message)?;
        names.iter().try_for_each(|name| self.verify_name(&header, name))
    }

    fn verify_name(&self, header: &Header<'_>, name: &str) -> Result<(), Error> {
        let context = WrapContext::new(header.core());
        let mut data_key = DataKey::empty();
        let mut failures = Failures::default();
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
