//! Moving from one keyring to another: the first wraps, any unwraps.

use super::{Answers, Members, Standing, concerns_slot, holds_key};
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
/// For moving from one backend to another: new messages are the new backend's at once, old ones
/// keep opening, and a rewrap of each hands it over without touching its body. Members may have
/// the same key name and versions; their master key ids differ. It is no fail-over: nothing is
/// encrypted while the first member does not answer, or old messages would go on being made. See
/// [`FailoverKeyring`](crate::FailoverKeyring) for that.
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
/// - **Decryption** asks the members in order until one opens the slot with the message's key. A
///   first member that does not answer hides no other that opens, and does not become "no key".
///   If none opens, the answer is the first of: unavailable, refused by a state, authentication
///   failed, refused as unknown, not mine.
/// - **A rewrap** takes a slot of another member, if the first holds a key of its name, whether or
///   not it encrypts under that now, through this process: unwrapped there, verified, wrapped by the
///   first. A slot whose name the first does not hold keeps it (a rewrap cannot change a name) and
///   goes to its owner's primary; to leave that owner, such a message is decrypted and encrypted
///   anew.
/// - **Needs a rewrap** whatever is not under the primary of the first member's key of the same
///   name, except under a name that the first does not hold: there, whatever is not under its
///   owner's. If the first member does not answer, nobody can tell.
#[derive(Debug)]
pub struct MigratingKeyring {
    members: Members,
}

impl MigratingKeyring {
    /// A keyring whose only member, as yet, is `first`: the one that wraps. An `Arc` of a keyring
    /// is one too: its other handles can go on administering it.
    pub fn new(first: impl Keyring + 'static) -> Self {
        MigratingKeyring { members: Members::new(Box::new(first)) }
    }

    /// Adds a member that unwraps, the last to be asked.
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
        let mut answers = Answers::default();
        let first = self.members.first();
        // A slot of its own it may rewrap on its own side.
        match first.rewrap(slot, context, slots, rng) {
            Err(error) if concerns_slot(&error) => answers.add(error),
            answer => return answer,
        }
        let name = slot.label.name;
        if !holds_key(first, name)? {
            return super::rewrap(self.members.rest(), answers, (slot, context), slots, rng);
        }
        let mut data_key = DataKey::empty();
        for member in self.members.rest() {
            match unwrap_verified(member, slot, context, &mut data_key) {
                Ok(()) => return first.wrap_under(name, &data_key, context, slots, rng),
                Err(error) => answers.add(error),
            }
        }
        Err(answers.into_error())
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let mut standing = Standing::new();
        standing.add(Ok(self.members.first().freshness(slot)?));
        for member in self.members.rest() {
            let freshness = member.freshness(slot);
            // Its owner's primary, and not the first's.
            let is_former = matches!(freshness, Ok(Freshness::Primary))
                && holds_key(self.members.first(), slot.name)?;
            standing.add(if is_former { Ok(Freshness::Stale) } else { freshness });
        }
        standing.into_freshness()
    }
}
