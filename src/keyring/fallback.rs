//! Moving from one keyring to another: the first wraps, any unwraps.

use super::members::{Answers, Members, Standing, concerns_slot, unwrap_verified};
use super::{Freshness, Keyring, KeyringError, PrimaryKey, WrapContext};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, MAX_HEADER_LEN, Slot, SlotFault, SlotLabel, SlotWriter, Suite};
use crate::random::KeyringRng;
use alloc::boxed::Box;
use alloc::vec;

/// A keyring that wraps with its first member and unwraps with any.
///
/// For moving from one backend to another: new messages are the new backend's at once, old ones
/// keep opening, and a rewrap of each hands it over without touching its body. Members may have
/// the same key name and versions; their master key ids differ.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, FallbackKeyring, MemoryKeyring, RewrapOptions};
/// use std::sync::Arc;
///
/// let old = Arc::new(MemoryKeyring::create("orders")?);
/// let mut message = Envelope::new(&old).encrypt(b"hello", Aad::none())?;
///
/// let new = Arc::new(MemoryKeyring::create("orders")?);
/// let moving = Envelope::new(FallbackKeyring::new(new.clone()).with(old)?);
/// assert!(moving.needs_rewrap(&message)?);
/// moving.rewrap_in_place(&mut message, RewrapOptions::new())?;
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
/// - **A rewrap** takes a slot of another member, if the first has its key name, through this
///   process: unwrapped there, verified, wrapped by the first. A slot whose name the first does
///   not have keeps it (a rewrap cannot change a name) and goes to its owner's primary; to leave
///   that owner, such a message is decrypted and encrypted anew.
/// - **Needs a rewrap** whatever is not under the first member's primary, except under a name that
///   the first does not have: there, whatever is not under its owner's. If the first member does
///   not answer, nobody can tell.
/// - Data keys are reused as the first member does it.
#[derive(Debug)]
pub struct FallbackKeyring {
    members: Members,
}

/// How the first member writes slots of one key name.
#[derive(Default)]
struct Names {
    /// Whether it writes one of this name.
    has: bool,
    /// How many slots it writes in all.
    slots: usize,
}

impl FallbackKeyring {
    /// A keyring whose only member, as yet, is `first`: the one that wraps. An `Arc` of a keyring
    /// is one too: its other handles can go on administering it.
    pub fn new(first: impl Keyring + 'static) -> Self {
        FallbackKeyring { members: Members::new(Box::new(first)) }
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

    fn names(&self, name: KeyName<'_>) -> Result<Names, KeyringError> {
        let mut names = Names::default();
        self.members.first().primary(&mut |primary| {
            names.has |= primary.label.name == name;
            names.slots = names.slots.saturating_add(1);
        })?;
        Ok(names)
    }

    /// Has the first member wrap `data_key`, and pushes the slot of this name alone.
    fn hand_over(
        &self,
        names: &Names,
        data_key: &DataKey,
        job: &Job<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let first = self.members.first();
        if names.slots == 1 {
            return first.wrap(data_key, job.context, slots, rng);
        }
        // It wraps under several names, and a rewrap takes one (SPEC R-NAME).
        let mut room = vec![0; MAX_HEADER_LEN];
        let mut all = SlotWriter::new(&mut room, job.context.suite(), None);
        first.wrap(data_key, job.context, &mut all, rng)?;
        let mut written = all.slots();
        let name = job.slot.label.name;
        let slot = written.find(|slot| slot.label.name == name).ok_or(SlotFault::None)?;
        slots.push(&slot.label, slot.wrapped_key)
    }
}

/// The slot that a rewrap is about.
struct Job<'a> {
    slot: &'a Slot<'a>,
    context: &'a WrapContext<'a>,
}

impl Keyring for FallbackKeyring {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.members.first().primary(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.members.first().wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.members.unwrap(slot, context, data_key)
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut answers = Answers::default();
        // A slot of its own it may rewrap on its own side.
        match self.members.first().rewrap(slot, context, slots, rng) {
            Err(error) if concerns_slot(&error) => answers.add(error),
            answer => return answer,
        }
        let names = self.names(slot.label.name)?;
        let mut data_key = DataKey::empty();
        for member in self.members.rest() {
            if names.has {
                match unwrap_verified(member, slot, context, &mut data_key) {
                    Ok(()) => {
                        let job = Job { slot, context };
                        return self.hand_over(&names, &data_key, &job, slots, rng);
                    }
                    Err(error) => answers.add(error),
                }
                continue;
            }
            match member.rewrap(slot, context, slots, rng) {
                // What the core must see at once: it makes more room.
                answer @ (Ok(()) | Err(KeyringError::Slot(_) | KeyringError::Randomness(_))) => {
                    return answer;
                }
                Err(error) => answers.add(error),
            }
        }
        Err(answers.into_error())
    }

    fn reuse_data_key(
        &self,
        suite: Suite,
        plaintext_len: u64,
        data_key: &mut DataKey,
    ) -> Result<Option<[u8; 8]>, KeyringError> {
        self.members.first().reuse_data_key(suite, plaintext_len, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let mut standing = Standing::new();
        standing.add(Ok(self.members.first().freshness(slot)?));
        for member in self.members.rest() {
            let freshness = member.freshness(slot);
            // Its owner's primary, and not the first's.
            let is_former =
                matches!(freshness, Ok(Freshness::Primary)) && self.names(slot.name)?.has;
            standing.add(if is_former { Ok(Freshness::Stale) } else { freshness });
        }
        standing.into_freshness()
    }
}
