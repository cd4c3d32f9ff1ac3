//! Several keyrings of which the first wraps and any unwraps, for a migration.

use super::{CombinedFreshness, MemberFailures, Members, concerns_slot, holds_key};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, Slot, SlotLabel};
use crate::keyring::{
    Freshness, Keyring, KeyringError, SlotWriter, WrapContext, forward_keyring, unwrap_verified,
};
use crate::random::KeyringRng;
use alloc::boxed::Box;

/// A keyring that wraps with its first member and unwraps with any.
///
/// For a migration between backends. New messages are encrypted under the new backend, old ones keep
/// opening, and a rewrap moves each to the new backend and leaves its body untouched. Members may have
/// the same key names and versions, because their master key ids differ. While the first member is
/// unavailable, nothing is encrypted: [`FailoverKeyring`](crate::FailoverKeyring) is for that.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MigratingKeyring, MemoryKeyring, RewrapOptions};
/// use std::sync::Arc;
///
/// let old = Arc::new(MemoryKeyring::create("orders")?);
/// let mut message = Envelope::new(&old).encrypt(b"hello", Aad::none())?;
///
/// let new = Arc::new(MemoryKeyring::create("orders")?);
/// let moving = Envelope::new(MigratingKeyring::new(new.clone()).with(old)?);
/// assert!(moving.needs_rewrap(&message)?);
/// moving.rewrap(&message, RewrapOptions::new())?.write_over(&mut message)?;
/// assert_eq!(Envelope::new(new).decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Contract
///
/// - **Decryption** calls the members in order until one opens the slot with the message's key. A
///   member that is unavailable does not hide the next ones. If none opens, the error is the first of:
///   unavailable, refused by a state, authentication failed, refused as unknown, not mine.
/// - **A rewrap** of another member's slot goes to the first member if that has a key of the slot's name,
///   even one that it does not encrypt under now. The owner unwraps, this process verifies the data key,
///   and the first member wraps it. If the first member has no key of that name, the slot goes to the
///   primary of its owner, since a rewrap cannot change a name. To leave that owner, decrypt the message
///   and encrypt it again.
/// - A message **needs a rewrap** if it is not under the primary of the first member's key of the same
///   name, or, if the first member has no such key, not under the primary of its owner. If the first
///   member is unavailable, this is unknown and the error is returned.
#[derive(Debug)]
pub struct MigratingKeyring {
    members: Members,
}

impl MigratingKeyring {
    /// Returns a keyring of one member, which wraps. An `Arc` of a keyring is one too, so that other
    /// handles can administer it.
    pub fn new(first: impl Keyring + 'static) -> Self {
        MigratingKeyring { members: Members::new(Box::new(first)) }
    }

    /// Adds a member that unwraps, which is called last.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMembers`] for the 17th.
    pub fn with(mut self, member: impl Keyring + 'static) -> Result<Self, Error> {
        self.members.add(Box::new(member))?;
        Ok(self)
    }
}

impl Keyring for MigratingKeyring {
    forward_keyring!(self => self.members.first(); visit_primaries, wrap);
    forward_keyring!(self => self.members; holds, unwrap);

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let first = self.members.first();
        match holds_key(first, name)? {
            true => first.wrap_under(name, data_key, context, slots, rng),
            false => self.members.wrap_under(name, data_key, context, slots, rng),
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut failures = MemberFailures::default();
        let first = self.members.first();
        // A back end may rewrap its own slots on its own side.
        match first.rewrap(slot, context, slots, rng) {
            Err(error) if concerns_slot(&error) => failures.add(error),
            result => return result,
        }
        let name = slot.label.name;
        if !holds_key(first, name)? {
            return super::rewrap(self.members.rest(), failures, (slot, context), slots, rng);
        }
        let mut data_key = DataKey::empty();
        for member in self.members.rest() {
            match unwrap_verified(member, slot, context, &mut data_key) {
                Ok(()) => return first.wrap_under(name, &data_key, context, slots, rng),
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error())
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let mut combined = CombinedFreshness::new();
        combined.add(Ok(self.members.first().freshness(slot)?));
        for member in self.members.rest() {
            let freshness = member.freshness(slot);
            // Under the primary of its owner, although the first member has the name.
            let is_former = matches!(freshness, Ok(Freshness::Primary))
                && holds_key(self.members.first(), slot.name)?;
            combined.add(if is_former { Ok(Freshness::Stale) } else { freshness });
        }
        combined.into_freshness()
    }
}
