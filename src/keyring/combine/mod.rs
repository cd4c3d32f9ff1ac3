//! The members of a combined keyring, and one result from all of theirs.

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
        let mut failures = MemberFailures::default();
        for member in self.iter() {
            match unwrap_verified(member, slot, context, data_key) {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error())
    }

    /// Calls every member. A member that fails does not hide the others.
    pub(super) fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        let (mut exists, mut failures) = (false, MemberFailures::default());
        for member in self.iter() {
            let mut visit = |key: KeyName<'_>| {
                exists = true;
                visit(key);
            };
            if let Err(error) = member.holds(name, &mut visit) {
                failures.add(error);
            }
        }
        if exists { Ok(()) } else { failures.0.map_or(Ok(()), Err) }
    }

    /// Returns the freshness of the slot at the member that knows most about it.
    pub(super) fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let mut combined = CombinedFreshness::new();
        self.iter().for_each(|member| combined.add(member.freshness(slot)));
        combined.into_freshness()
    }

    /// Returns the member that `slot` belongs to, by its label. Fails if that may be several or if one
    /// fails, since only an unwrap decides then.
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

    /// Wraps with the owner of the slot that is replaced, or with the first member that has the master
    /// key `name`. A member that fails before it ends the search, since it may have the key.
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

    pub(super) fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        rewrap(self.iter(), MemberFailures::default(), (slot, context), slots, rng)
    }
}

/// Rewraps with the first member that opens the slot, so that each slot stays with its owner.
pub(super) fn rewrap<'m>(
    members: impl Iterator<Item = &'m dyn Keyring>,
    mut failures: MemberFailures,
    (slot, context): (&Slot<'_>, &WrapContext<'_>),
    slots: &mut SlotWriter<'_>,
    rng: &mut KeyringRng<'_>,
) -> Result<(), KeyringError> {
    for member in members {
        match member.rewrap(slot, context, slots, rng) {
            // The core tries again with more room.
            result @ (Ok(()) | Err(KeyringError::Slot(_) | KeyringError::Randomness(_))) => {
                return result;
            }
            Err(error) => failures.add(error),
        }
    }
    Err(failures.into_error())
}

/// Returns whether `keyring` has a master key `name`. An alias does not count, since a rewrap keeps
/// the name of a slot (SPEC R-NAME).
pub(super) fn holds_key(keyring: &dyn Keyring, name: KeyName<'_>) -> Result<bool, KeyringError> {
    let mut exists = false;
    keyring.holds(name, &mut |key| exists |= key == name)?;
    Ok(exists)
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members", self.len())
    }
}

/// The most specific error of the members that did not open a slot.
#[derive(Default)]
pub(super) struct MemberFailures(Option<KeyringError>);

impl MemberFailures {
    /// Keeps the first of the errors with the highest rank.
    pub(super) fn add(&mut self, error: KeyringError) {
        if self.0.as_ref().is_none_or(|known| rank(&error) > rank(known)) {
            self.0 = Some(error);
        }
    }

    pub(super) fn into_error(self) -> KeyringError {
        self.0.unwrap_or(KeyringError::NotMine)
    }
}

/// [`KeyringError::rank`], with an unknown version below a failed authentication: a member that has the
/// version knows more about the slot than one that does not.
fn rank(error: &KeyringError) -> (u8, u8) {
    match error {
        KeyringError::Refused(Refusal::UnknownVersion) => (0, 1),
        error => (error.rank(), 0),
    }
}

/// Returns whether another member may open or rewrap a slot for which one returned `error`.
pub(super) fn concerns_slot(error: &KeyringError) -> bool {
    matches!(error, KeyringError::NotMine | KeyringError::Refused(_) | KeyringError::Authentication)
}

/// The freshness of a slot from that at each of several keyrings.
pub(super) struct CombinedFreshness {
    best: Freshness,
    failure: Option<KeyringError>,
}

impl CombinedFreshness {
    pub(super) fn new() -> Self {
        CombinedFreshness { best: Freshness::NotMine, failure: None }
    }

    pub(super) fn add(&mut self, freshness: Result<Freshness, KeyringError>) {
        match freshness {
            Ok(freshness) if freshness_rank(freshness) > freshness_rank(self.best) => {
                self.best = freshness;
            }
            Ok(_) => {}
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Returns the highest freshness. If no member can open the slot, the one that failed might.
    pub(super) fn into_freshness(self) -> Result<Freshness, KeyringError> {
        match self.failure {
            Some(error) if freshness_rank(self.best) < freshness_rank(Freshness::Stale) => {
                Err(error)
            }
            _ => Ok(self.best),
        }
    }
}

/// Compromised is highest: no other member's result overrides it.
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
