//! Keyrings, which wrap and unwrap data keys under named, versioned master keys.
//!
//! An [`Envelope`](crate::Envelope) calls a [`Keyring`] to wrap the data key of a new message and to unwrap
//! that of an existing one. [`Lifecycle`] changes the versions of keyrings that have records.
//!
//! | task | items |
//! |---|---|
//! | keep master keys | [`MemoryKeyring`]; `FileKeyring` (feature `file`), `Pkcs11Keyring` (feature `pkcs11`) |
//! | use several keyrings | [`MultiKeyring`] wraps for all, [`FailoverKeyring`] with the first that works, [`MigratingKeyring`] moves from one to another |
//! | restrict a keyring | [`WithoutVersions`] opens nothing under listed versions |
//! | save calls | `CachingKeyring` (feature `std`) |
//! | await a back end | [`AsyncKeyring`], for an [`AsyncEnvelope`](crate::AsyncEnvelope); [`Inline`] for keyrings that do not block, `Blocking` (crate `envelock-remote`) for those that do |
//! | write a keyring | [`Keyring`], with [`WrapContext`], [`SlotWriter`] and [`KeyringError`]; [`OwnedWrapContext`] and [`PushedSlots`] where another thread makes the calls |

mod asynchronous;
#[cfg(feature = "std")]
mod caching;
mod combine;
mod context;
mod counter;
mod error;
#[cfg(all(feature = "file", unix))]
pub(crate) mod file;
mod forward;
#[cfg(all(test, envelock_shuttle))]
#[path = "../../tests/interleavings/models.rs"]
mod interleavings;
mod key_table;
mod lifecycle;
mod memory;
pub(crate) mod observed;
#[cfg(all(feature = "pkcs11", unix))]
pub(crate) mod pkcs11;
mod pushed_slots;
mod slot_writer;
mod software;
mod without_versions;
mod wrapping_key;

pub use asynchronous::{
    AsyncKeyring, AsyncKeyringRng, BoxedFuture, DynAsyncKeyring, Inline, KeyringLabels,
};
#[cfg(feature = "std")]
pub use caching::{CachingKeyring, CachingOptions, CachingStats};
#[cfg(feature = "std")]
pub(crate) use caching::{Clock, is_young, monotonic_clock};
pub use combine::{FailoverKeyring, MAX_MEMBERS, MigratingKeyring, MultiKeyring};
pub use context::{OwnedWrapContext, WrapAad, WrapContext};
pub use error::KeyringError;
pub(crate) use forward::forward_keyring;
pub use lifecycle::Lifecycle;
pub use memory::MemoryKeyring;
pub use pushed_slots::PushedSlots;
pub use slot_writer::SlotWriter;
pub(crate) use slot_writer::write_header;
pub use without_versions::WithoutVersions;

use crate::crypto::secret::DataKey;
use crate::format::{KeyName, MAX_HEADER_LEN, Slot, SlotLabel, Suite};
pub use crate::keyset::{Freshness, Refusal};
pub use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Wraps and unwraps data keys. The one trait that a backend implements.
///
/// # Contract
///
/// - A keyring identifies its master keys by name, version, id and algorithm together. Return
///   [`KeyringError::NotMine`] if any of them belongs to another keyring, and
///   [`Refusal::UnknownVersion`] if the version alone is unknown. The primary never stands in for a
///   missing version.
/// - A wrap is bound to [`WrapContext::wrap_aad`] of its label. A keyring that leaves this out
///   can be made to unwrap a slot that was moved or relabelled; the core's check of the data key
///   then still refuses a key that is not the message's.
/// - The core verifies every data key that `unwrap` fills in (its length, and in constant time
///   its check) before it is used, so that a keyring need not know the message.
/// - Methods may block and are called from many threads at once. The core calls them outside of
///   any lock and never holds a borrow of a keyring's state across a call.
/// - Secrets stay in the arguments: no error, log or panic message repeats them.
///
/// `&K`, `Box<K>` and `Arc<K>` are keyrings too. [`MultiKeyring`], [`FailoverKeyring`] and [`MigratingKeyring`]
/// combine several, [`WithoutVersions`] leaves versions out, and `CachingKeyring` (feature `std`)
/// caches the calls of one.
/// `examples/custom_keyring.rs` implements the trait over a table of its own in some 60 lines.
#[doc(alias = "key ring")]
#[doc(alias = "provider")]
pub trait Keyring: Send + Sync {
    /// Calls `visit` with each slot that [`wrap`](Self::wrap) would write now.
    ///
    /// Called once for each message that is encrypted with an inline header, for lengths, and by
    /// `needs_rewrap`; so it should be cheap, from memory. A wrong
    /// [`max_wrapped_key_len`](PrimaryKey::max_wrapped_key_len) costs an [`Error::HeaderRoom`] or some
    /// padding, a wrong version makes `needs_rewrap` wrong; neither loses data.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NoPrimary`] if nothing can wrap; [`KeyringError::Backend`].
    ///
    /// [`Error::HeaderRoom`]: crate::Error::HeaderRoom
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError>;

    /// Wraps `data_key` under the primary version and pushes the slot; a keyring that wraps
    /// under several master keys pushes one slot for each.
    ///
    /// Called once for each message that is encrypted, or once for each batch of messages that share
    /// a data key (`Envelope::with_data_key_reuse`). A slot that does not
    /// unwrap to the same key loses the message: a keyring over an unreliable back end unwraps and
    /// compares before it pushes. [`WrapContext::plaintext_len`] is the length that it will protect.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NoPrimary`] if no version may wrap; [`KeyringError::Refused`] if the primary
    /// may not, for a reason of its own; [`KeyringError::WrapLimit`] if it may wrap no more;
    /// [`KeyringError::Backend`] if the back end denies the call or is throttled, and for any
    /// other failure of the backend or of a cipher of its own; the errors of `slots.push` and `rng`.
    /// Nothing is encrypted then.
    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError>;

    /// Wraps `data_key` under the primary version of the master key `name`, and pushes that one
    /// slot.
    ///
    /// Called by [`rewrap`](Self::rewrap), by combined keyrings, and to grant a message to another
    /// key. `name` is never an alias, since slots have none. The provided method calls
    /// [`wrap`](Self::wrap) and keeps the first slot of the name, which is right for a keyring of
    /// one name; a keyring of several overrides it, since it may have names that it does not wrap
    /// under now.
    ///
    /// # Errors
    ///
    /// [`KeyringError::UnknownKey`] if the keyring has no master key of this name; those of
    /// [`wrap`](Self::wrap).
    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        slots.first_of(name, |slots| self.wrap(data_key, context, slots, rng))
    }

    /// Calls `visit` with the master key that `name` stands for: with `name` itself if the keyring has
    /// a key of this name, even one that it does not wrap under now; with the key's name if `name`
    /// is an alias; not at all if it has neither.
    ///
    /// Called by combined keyrings, and where a caller names a key; it should be cheap, from
    /// memory, and allocates nothing. A keyring made of several may `visit` more than once. The
    /// provided method uses [`visit_primaries`](Self::visit_primaries), which is right for a keyring of one
    /// name; a keyring of several overrides it, else a migration leaves out keys that it does not
    /// wrap under now.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Backend`] if the keyring cannot be read.
    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        visit_primary_of_name(|primary| self.visit_primaries(primary), name, visit)
    }

    /// Unwraps `slot` into `data_key`.
    ///
    /// Called for the slots of a message in order until one opens. Only a slot that belongs to this
    /// keyring may cost a call to a back end: names come from the writer of the message.
    ///
    /// # Errors
    ///
    /// | error | meaning | the core |
    /// |---|---|---|
    /// | [`NotMine`](KeyringError::NotMine) | the name, material or algorithm of another keyring | tries the next slot |
    /// | [`Refused`](KeyringError::Refused) | this keyring's, but refused | tries the next; reports key, version and reason if none opens |
    /// | [`Authentication`](KeyringError::Authentication) | this keyring's, and it does not verify | tries the next slot |
    /// | [`Backend`](KeyringError::Backend) | the back end failed, is throttled, or denied the call | tries the next; reports it if none opens, retryable or not as it says |
    ///
    /// A rewrap keeps every slot that does not open, and unwraps those under the primary only beside
    /// one of their name that is not. A slot comes with the label that it was made with, unless the
    /// message was changed.
    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError>;

    /// Wraps the data key of `slot` again, under the primary version of the *same* key name, and
    /// pushes that one slot.
    ///
    /// Called by a rewrap for each slot that is stale, compromised and named, or of an unknown
    /// version by [`freshness`](Self::freshness), and once more if the new
    /// slot needs more room than usual. The core then unwraps and verifies the new slot, unless its
    /// caller relies on the backend for that. The provided method unwraps, verifies, and wraps with
    /// [`wrap_under`](Self::wrap_under). A backend that can re-encrypt on its own side overrides it,
    /// and then the data key need never leave it.
    ///
    /// # Errors
    ///
    /// Those of [`unwrap`](Self::unwrap) and of [`wrap_under`](Self::wrap_under).
    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut own = DataKey::empty();
        let data_key = slots.take_kept(context).unwrap_or(&mut own);
        unwrap_verified(self, slot, context, data_key)?;
        self.wrap_under(slot.label.name, data_key, context, slots, rng)
    }

    /// Returns from its label alone whether `slot` belongs to this keyring, and is under the primary.
    ///
    /// Called by `needs_rewrap`, by a rewrap for each slot, and before the end of a stream: it
    /// should be cheap, from memory. The provided method compares with
    /// [`visit_primaries`](Self::visit_primaries) and takes every other slot of the same name for stale. A
    /// keyring overrides it if it has names that it does not wrap under, recognises foreign
    /// material by its id, or refuses or does not know some versions: `needs_rewrap` reports a slot
    /// that is stale and does not open at every call. A slot that is wrongly
    /// [`Primary`](Freshness::Primary) is never rewrapped, nor is one that is wrongly refused.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Backend`] if the keyring cannot be read.
    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        freshness_by_primaries(|primary| self.visit_primaries(primary), slot)
    }
}

/// A slot that [`Keyring::wrap`] would write now.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "keyrings of other crates make it")]
pub struct PrimaryKey<'a> {
    /// The label of the slot.
    pub label: SlotLabel<'a>,
    /// The most bytes that the wrapped key can have; unused bytes become padding. `None` where the
    /// algorithm fixes the length (1 to 3) and no more room is reserved.
    pub max_wrapped_key_len: Option<usize>,
}

impl PrimaryKey<'_> {
    /// The most bytes that the wrapped key of a data key of `suite` has.
    pub(crate) fn wrapped_key_len(&self, suite: Suite) -> usize {
        let exact = self.label.algorithm.wrapped_key_len(suite);
        // Without a length there is no room, and the wrap fails. A length beyond every header is a
        // claim (SPEC H-BOUND), which is refused.
        exact.max(self.max_wrapped_key_len).unwrap_or(0).min(MAX_HEADER_LEN)
    }
}

/// Calls `visit` with `name` if it is the name of a primary.
fn visit_primary_of_name(
    visit_primaries: impl FnOnce(&mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError>,
    name: KeyName<'_>,
    visit: &mut dyn FnMut(KeyName<'_>),
) -> Result<(), KeyringError> {
    let mut exists = false;
    visit_primaries(&mut |primary| exists |= primary.label.name == name)?;
    if exists {
        visit(name);
    }
    Ok(())
}

/// Compares a label with the primaries. Every other slot of their names is stale.
fn freshness_by_primaries(
    visit_primaries: impl FnOnce(&mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError>,
    slot: &SlotLabel<'_>,
) -> Result<Freshness, KeyringError> {
    let mut freshness = Freshness::NotMine;
    visit_primaries(&mut |primary| {
        if primary.label.same_key(slot) {
            freshness = Freshness::Primary;
        } else if primary.label.name == slot.name && freshness == Freshness::NotMine {
            freshness = Freshness::Stale;
        }
    })?;
    Ok(freshness)
}

macro_rules! forward_to_pointee {
    ($($pointer:ty),*) => {$(
        impl<K: Keyring + ?Sized> Keyring for $pointer {
            forward_keyring!(self => **self;
                visit_primaries, wrap, wrap_under, holds, unwrap, rewrap, freshness);
        }
    )*};
}

forward_to_pointee!(&K, Box<K>, Arc<K>);

/// Unwraps `slot` and checks that the data key belongs to the message (SPEC K-CHECK). After an error
/// `data_key` is empty.
pub(crate) fn unwrap_verified<K: Keyring + ?Sized>(
    keyring: &K,
    slot: &Slot<'_>,
    context: &WrapContext<'_>,
    data_key: &mut DataKey,
) -> Result<(), KeyringError> {
    // The key of an earlier slot must not be taken for this one's.
    data_key.wipe();
    let opened = keyring.unwrap(slot, context, data_key).and_then(|()| context.verify(data_key));
    if opened.is_err() {
        data_key.wipe();
    }
    opened
}

/// Returns the [`index_bytes`](SlotLabel::index_bytes) of slot 0 of a message that `keyring` wraps now:
/// bytes 25..37 of its header.
///
/// # Errors
///
/// [`Error::NoPrimary`](crate::Error::NoPrimary); [`Error::Backend`](crate::Error::Backend).
pub fn primary_index_bytes<K: Keyring + ?Sized>(keyring: &K) -> Result<[u8; 12], crate::Error> {
    let mut first = None;
    let visited = keyring.visit_primaries(&mut |primary| {
        first.get_or_insert(primary.label.index_bytes());
    });
    visited.map_err(crate::Error::from_wrap)?;
    first.ok_or(crate::Error::NoPrimary)
}
