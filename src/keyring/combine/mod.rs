//! The members of a combined keyring, and one answer from all of theirs.

use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, MAX_SLOTS, Slot, SlotLabel};
use crate::keyring::{
    Freshness, Keyring, KeyringError, Refusal, SlotWriter, WrapContext, unwrap_verified,
};
use crate::random::KeyringRng;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

mod failover;
mod migrating;
mod multi;

pub use failover::FailoverKeyring;
pub use migrating::MigratingKeyring;
pub use multi::MultiKeyring;

/// Most members of a combined keyring: as many as a header has slots.
pub const MAX_MEMBERS: usize = MAX_SLOTS;

/// One keyring or more, in order.
pub(super) struct Members {
    first: Box<dyn Keyring>,
    rest: Vec<Box<dyn Keyring>>,
}

impl Members {
    pub(super) fn new(first: Box<dyn Keyring>) -> Self {
        Members { first, rest: Vec::new() }
    }

    pub(super) fn add(&mut self, member: Box<dyn Keyring>) -> Result<(), Error> {
        if self.len() >= MAX_MEMBERS {
            return Err(Error::TooManyMembers { most: MAX_MEMBERS });
        }
        self.rest.push(member);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len() + 1
    }

    pub(super) fn first(&self) -> &dyn Keyring {
        &*self.first
    }

    /// All but the first.
    pub(super) fn rest(&self) -> impl Iterator<Item = &dyn Keyring> {
        self.rest.iter().map(|member| &**member)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn Keyring> {
        core::iter::once(self.first()).chain(self.rest())
    }

    /// Unwraps with the first member that opens the slot.
    pub(super) fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let mut answers = Answers::default();
        for member in self.iter() {
            match unwrap_verified(member, slot, context, data_key) {
                Ok(()) => return Ok(()),
                Err(error) => answers.add(error),
            }
        }
        Err(answers.into_error())
    }
}

/// What the keyrings answer that are made of members.
impl Members {
    /// Asks every member; one that does not answer hides none that does.
    pub(super) fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        let (mut is_held, mut answers) = (false, Answers::default());
        for member in self.iter() {
            let mut visit = |key: KeyName<'_>| {
                is_held = true;
                visit(key);
            };
            if let Err(error) = member.holds(name, &mut visit) {
                answers.add(error);
            }
        }
        if is_held { Ok(()) } else { answers.0.map_or(Ok(()), Err) }
    }

    /// How the member sees the slot that knows most of it.
    pub(super) fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let mut standing = Standing::new();
        self.iter().for_each(|member| standing.add(member.freshness(slot)));
        standing.into_freshness()
    }

    /// The member that has `slot`, going by its label. Where that may be several, or one does not
    /// answer, only an unwrap can tell.
    pub(super) fn owner(&self, slot: &SlotLabel<'_>) -> Result<&dyn Keyring, KeyringError> {
        let mut owner = None;
        for member in self.iter() {
            let is_owner = match member.freshness(slot) {
                Ok(Freshness::NotMine | Freshness::Refused(_)) => false,
                Ok(Freshness::Primary | Freshness::Stale | Freshness::Compromised) => true,
                Err(_) => return Err(KeyringError::NotMine),
            };
            if is_owner && owner.replace(member).is_some() {
                return Err(KeyringError::NotMine);
            }
        }
        owner.ok_or(KeyringError::NotMine)
    }

    /// Wraps with the first member that holds the master key `name`, or in the place of a slot with
    /// that slot's owner. Where one that is asked before does not answer, nobody can tell which that
    /// is.
    pub(super) fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if let Some(slot) = context.replaced() {
            return self.owner(slot)?.wrap_under(name, data_key, context, slots, rng);
        }
        for member in self.iter() {
            if holds_key(member, name)? {
                return member.wrap_under(name, data_key, context, slots, rng);
            }
        }
        Err(KeyringError::UnknownKey { key: name.as_str().into() })
    }

    /// See [`rewrap`].
    pub(super) fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        rewrap(self.iter(), Answers::default(), (slot, context), slots, rng)
    }
}

/// Rewraps with the first member that opens the slot: each slot stays with its owner.
pub(super) fn rewrap<'m>(
    members: impl Iterator<Item = &'m dyn Keyring>,
    mut answers: Answers,
    (slot, context): (&Slot<'_>, &WrapContext<'_>),
    slots: &mut SlotWriter<'_>,
    rng: &mut KeyringRng<'_>,
) -> Result<(), KeyringError> {
    for member in members {
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

/// Whether `keyring` holds a master key of this very name. An alias is not enough: a rewrap keeps
/// the name of a slot (SPEC R-NAME).
pub(super) fn holds_key(keyring: &dyn Keyring, name: KeyName<'_>) -> Result<bool, KeyringError> {
    let mut is_held = false;
    keyring.holds(name, &mut |key| is_held |= key == name)?;
    Ok(is_held)
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members", self.len())
    }
}

/// Why no member opened a slot: the most specific error.
#[derive(Default)]
pub(super) struct Answers(Option<KeyringError>);

impl Answers {
    /// The first of several that tell as much is kept.
    pub(super) fn add(&mut self, error: KeyringError) {
        if self.0.as_ref().is_none_or(|known| rank(&error) > rank(known)) {
            self.0 = Some(error);
        }
    }

    pub(super) fn into_error(self) -> KeyringError {
        self.0.unwrap_or(KeyringError::NotMine)
    }
}

/// As [`KeyringError::rank`], and a version that is unknown behind a failed authentication: a member
/// that has the version knows more of the slot than one that does not.
fn rank(error: &KeyringError) -> (u8, u8) {
    match error {
        KeyringError::Refused(Refusal::UnknownVersion) => (0, 1),
        error => (error.rank(), 0),
    }
}

/// Whether another member may open or rewrap a slot of which one says this.
pub(super) fn concerns_slot(error: &KeyringError) -> bool {
    matches!(error, KeyringError::NotMine | KeyringError::Refused(_) | KeyringError::Authentication)
}

/// How a slot stands to several keyrings, going by what each says of it.
pub(super) struct Standing {
    best: Freshness,
    failure: Option<KeyringError>,
}

impl Standing {
    pub(super) fn new() -> Self {
        Standing { best: Freshness::NotMine, failure: None }
    }

    pub(super) fn add(&mut self, answer: Result<Freshness, KeyringError>) {
        match answer {
            Ok(freshness) if freshness_rank(freshness) > freshness_rank(self.best) => {
                self.best = freshness;
            }
            Ok(_) => {}
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// The best answer; where no member has the slot in use, one that did not answer might.
    pub(super) fn into_freshness(self) -> Result<Freshness, KeyringError> {
        match self.failure {
            Some(error) if freshness_rank(self.best) < freshness_rank(Freshness::Stale) => {
                Err(error)
            }
            _ => Ok(self.best),
        }
    }
}

/// Where one member's material is marked compromised, another's word does not make it good.
fn freshness_rank(freshness: Freshness) -> u8 {
    match freshness {
        Freshness::NotMine => 0,
        Freshness::Refused(Refusal::UnknownVersion) => 1,
        Freshness::Refused(_) => 2,
        Freshness::Stale => 3,
        Freshness::Primary => 4,
        Freshness::Compromised => 5,
    }
}
