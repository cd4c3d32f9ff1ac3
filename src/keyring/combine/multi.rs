//! Several keyrings at once: any one of them can decrypt.

use super::Members;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::keyring::{Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext, forward_keyring};
use crate::random::KeyringRng;
use alloc::boxed::Box;

/// A keyring of several: wraps with every member, so that any one of them can decrypt later.
///
/// For a second region, a recovery key, two departments. Each member adds a slot to the header;
/// there can be at most 16 in all ([`MAX_MEMBERS`](crate::keyring::MAX_MEMBERS)).
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring, MultiKeyring};
/// use std::sync::Arc;
///
/// let orders = Arc::new(MemoryKeyring::create("orders")?);
/// let recovery = Arc::new(MemoryKeyring::create("recovery")?);
/// let both = MultiKeyring::new(orders).with(recovery.clone())?;
/// let message = Envelope::new(both).encrypt(b"hello", Aad::none())?;
/// assert_eq!(Envelope::new(recovery).decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Contract
///
/// - **Encryption needs every member.** If one cannot wrap, nothing is encrypted: a message that
///   this member cannot open later would be an unnoticed loss. Two members that would
///   write a slot of the same name, version and master key id give [`Error::Slot`].
/// - **Decryption needs one.** Members are called in order until one opens the slot with the
///   message's key; an unavailable member does not hide the next ones. If none opens, the error
///   is the first of: unavailable, refused by a state, authentication failed, refused as unknown,
///   not mine.
/// - **A rewrap stays with the owner**: each slot goes to the primary of the member that opens
///   it, under the same name. A member that was added later gets no slot in old messages; that
///   takes a new encryption.
/// - The freshness of a slot is that of the member that knows most about it. A version is compromised
///   if any available member has marked it.
#[derive(Debug)]
pub struct MultiKeyring {
    members: Members,
}

impl MultiKeyring {
    /// Returns a keyring of one member. An `Arc` of a keyring is one too, so that other handles can
    /// administer it.
    pub fn new(first: impl Keyring + 'static) -> Self {
        MultiKeyring { members: Members::new(Box::new(first)) }
    }

    /// Adds a member, which is called last.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMembers`] for the 17th.
    pub fn with(mut self, member: impl Keyring + 'static) -> Result<Self, Error> {
        self.members.add(Box::new(member))?;
        Ok(self)
    }
}

impl Keyring for MultiKeyring {
    forward_keyring!(self => self.members; wrap_under, holds, unwrap, rewrap, freshness);

    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.members.iter().try_for_each(|member| member.visit_primaries(visit))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.members.iter().try_for_each(|member| member.wrap(data_key, context, slots, rng))
    }
}
