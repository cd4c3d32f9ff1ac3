//! Slots that outlive the writer that received them.

use super::{KeyringError, SlotWriter};
use crate::format::{MAX_HEADER_LEN, Slots, Suite};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The slots that a call pushed, and its result, for a call that is made without the caller's [`SlotWriter`].
///
/// A keyring that has another thread make its calls moves the arguments there as an [`OwnedWrapContext`] and an
/// [`OwnedSlot`], and gets this value back:
///
/// ```
/// use envelock::keyring::{AsyncKeyringRng, KeyringError, OwnedWrapContext, PushedSlots};
/// use envelock::keyring::{SlotWriter, WrapContext};
/// use envelock::{DataKey, Keyring};
///
/// fn wrap_on_another_thread(
///     keyring: &dyn Keyring,
///     data_key: &DataKey,
///     context: &WrapContext<'_>,
///     slots: &mut SlotWriter<'_>,
///     rng: &mut AsyncKeyringRng<'_>,
/// ) -> Result<(), KeyringError> {
///     let context = OwnedWrapContext::from(context);
///     let wrap = || {
///         let context = context.as_context();
///         PushedSlots::of(context.suite(), |slots| keyring.wrap(data_key, &context, slots, rng))
///     };
///     let pushed = std::thread::scope(|scope| scope.spawn(wrap).join());
///     pushed.expect("no panic").push_to(slots)
/// }
/// ```
///
/// [`OwnedSlot`]: crate::format::OwnedSlot
/// [`OwnedWrapContext`]: super::OwnedWrapContext
pub struct PushedSlots {
    bytes: Vec<u8>,
    count: u8,
    result: Result<(), KeyringError>,
}

impl PushedSlots {
    /// Makes `call` with a writer that has room for every header, for data keys of `suite`.
    pub fn of(
        suite: Suite,
        call: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Self {
        let mut room = vec![0; MAX_HEADER_LEN];
        let mut slots = SlotWriter::new(&mut room, suite, None);
        let result = call(&mut slots);
        PushedSlots::copy_of(&slots, result)
    }

    /// Copies the slots of `slots`, which a call with this result pushed.
    pub(crate) fn copy_of(slots: &SlotWriter<'_>, result: Result<(), KeyringError>) -> Self {
        PushedSlots { bytes: slots.as_bytes().to_vec(), count: slots.count(), result }
    }

    /// Pushes the slots to `slots`, as the call would have done, and returns its result.
    ///
    /// # Errors
    ///
    /// That of [`SlotWriter::push`]; that of the call.
    pub fn push_to(&self, slots: &mut SlotWriter<'_>) -> Result<(), KeyringError> {
        slots.push_all(self.slots())?;
        self.result.clone()
    }

    fn slots(&self) -> Slots<'_> {
        Slots::new(&self.bytes, self.count)
    }
}

impl fmt::Debug for PushedSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushedSlots")
            .field("slots", &self.slots())
            .field("result", &self.result)
            .finish()
    }
}
