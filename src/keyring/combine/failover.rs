//! Several keyrings of which one is enough: the first that is available wraps, any unwraps.

use super::{MemberFailures, Members, holds_key};
use crate::crypto::secret::DataKey;
use crate::error::{BackendFailure, Error};
use crate::format::{KeyName, Suite, slot_len};
use crate::keyring::{Keyring, KeyringError, PrimaryKey, SlotWriter, WrapContext, forward_keyring};
use crate::random::KeyringRng;
use alloc::boxed::Box;

/// A keyring of several that encrypts as long as one of them is available.
///
/// For a back end and its replica, such as keys of two regions. Each message gets the slots of one
/// member, so that it opens only while that member is available; [`MultiKeyring`](crate::MultiKeyring)
/// writes slots of all members, and needs all of them to encrypt.
/// [`MigratingKeyring`](crate::MigratingKeyring) moves messages from one backend to another.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, FailoverKeyring, MemoryKeyring};
/// use std::sync::Arc;
///
/// let near = Arc::new(MemoryKeyring::create("orders-near")?);
/// let far = Arc::new(MemoryKeyring::create("orders-far")?);
/// let envelope = Envelope::new(FailoverKeyring::new(near.clone()).with(far)?);
/// let message = envelope.encrypt(b"hello", Aad::none())?;
/// assert_eq!(Envelope::new(near).decrypt(&message, Aad::none())?, b"hello");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Contract
///
/// - **Encryption** calls the members in order until one wraps. The next one is called if a member is
///   [throttled](BackendFailure::Throttled) or [unavailable](BackendFailure::Unavailable), retryable
///   or not. Every other failure is returned: a member that denies, refuses, has no primary or has
///   reached its wrap limit needs an operator, and a silent failover would hide that. If none
///   wraps, the error is the first of: throttled or unavailable where a later call may succeed,
///   then the others.
/// - **Lengths** of headers are those of the longest that any member writes, padding included, so that
///   the length of a message does not depend on the member that wraps.
/// - **Decryption** calls the members in order until one opens the slot, as
///   [`MultiKeyring`](crate::MultiKeyring) does.
/// - A message **needs a rewrap** if it is under the primary of no member: a slot of any member is current.
///   A rewrap stays with the owner of the slot. To bring messages back to the first member, rewrap
///   them with a [`MigratingKeyring`](crate::MigratingKeyring) of the same members.
#[derive(Debug)]
pub struct FailoverKeyring {
    members: Members,
}

impl FailoverKeyring {
    /// Returns a keyring of one member, which wraps as long as it is available.
    pub fn new(first: impl Keyring + 'static) -> Self {
        FailoverKeyring { members: Members::new(Box::new(first)) }
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

    /// Calls the members in order until one succeeds, or fails with an error that another member must
    /// not hide. `None` skips a member.
    fn first_result(
        &self,
        call: impl FnMut(&dyn Keyring) -> Option<Result<(), KeyringError>>,
    ) -> Result<(), KeyringError> {
        let mut failures = MemberFailures::default();
        for result in self.members.iter().filter_map(call) {
            let Err(error) = result else { return Ok(()) };
            let is_outage = is_outage(&error);
            failures.add(error);
            if !is_outage {
                break;
            }
        }
        Err(failures.into_error())
    }
}

/// Whether the back end is unavailable or throttled, so that the next member is called.
fn is_outage(error: &KeyringError) -> bool {
    matches!(error, KeyringError::Backend(error) if error.failure() != BackendFailure::Denied)
}

/// A suite of the longest data keys. A call for lengths does not know the suite.
const LONGEST: Suite = Suite::Cobblestone256;

/// Length of the slots that a member writes now, for the longest data keys.
fn room(member: &dyn Keyring) -> Result<usize, KeyringError> {
    let mut len = 0_usize;
    member.visit_primaries(&mut |primary| {
        let wrapped_len = primary.wrapped_key_len(LONGEST);
        // Saturates: beyond every header, which is refused.
        len = len.saturating_add(slot_len(primary.label.name, wrapped_len));
    })?;
    Ok(len)
}

impl Keyring for FailoverKeyring {
    forward_keyring!(self => self.members; holds, unwrap, rewrap, freshness);

    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let longest = self.members.iter().filter_map(|member| room(member).ok());
        let longest = longest.max().unwrap_or(0);
        self.first_result(|member| {
            // Saturates: a member's length may have grown since.
            let mut more = room(member).map_or(0, |len| longest.saturating_sub(len));
            Some(member.visit_primaries(&mut |primary| {
                let mut primary = *primary;
                if more > 0 {
                    // Saturates: as above.
                    let len = primary.wrapped_key_len(LONGEST).saturating_add(more);
                    primary.max_wrapped_key_len = Some(len);
                    more = 0;
                }
                visit(&primary);
            }))
        })
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        // Slots of a member that then failed are not kept.
        self.first_result(|member| {
            Some(slots.all_of(|slots| member.wrap(data_key, context, slots, rng)))
        })
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if let Some(slot) = context.replaced() {
            return self.members.owner(slot)?.wrap_under(name, data_key, context, slots, rng);
        }
        let wrapped = self.first_result(|member| match holds_key(member, name) {
            Ok(false) => None,
            Ok(true) => {
                Some(slots.all_of(|slots| member.wrap_under(name, data_key, context, slots, rng)))
            }
            Err(error) => Some(Err(error)),
        });
        wrapped.map_err(|error| match error {
            KeyringError::NotMine => KeyringError::UnknownKey { key: name.as_str().into() },
            error => error,
        })
    }
}
