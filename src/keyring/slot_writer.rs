//! The destination of the slots that a keyring makes.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::{KeyringError, WrapContext};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{
    ImmutableCore, KeyName, MAX_SLOTS, MAX_WRAPPED_KEY_LEN, Slot, SlotFault, SlotLabel, Slots,
    Suite, encode_slot, header_len_field, offset, slot_len, write_fixed,
};
use core::fmt;

/// Receives the slots that a keyring makes.
///
/// It checks each slot, so that no keyring can produce a header that does not parse.
pub struct SlotWriter<'a> {
    room: &'a mut [u8],
    used: usize,
    count: u8,
    suite: Suite,
    only: Option<KeyName<'a>>,
    first_of: Option<FirstOf<'a>>,
    rewrapped: Option<Rewrapped<'a>>,
}

/// Where a rewrap leaves the data key that it has verified.
struct Rewrapped<'a> {
    core: &'a ImmutableCore,
    data_key: &'a mut DataKey,
}

/// The filter of [`SlotWriter::first_of`].
#[derive(Clone, Copy)]
struct FirstOf<'a> {
    name: KeyName<'a>,
    /// The number of slots before.
    before: u8,
    /// Whether a slot was skipped.
    has_others: bool,
}

impl<'a> SlotWriter<'a> {
    /// Returns a writer into `room` for data keys of `suite`. `only` restricts the key name.
    pub(crate) fn new(room: &'a mut [u8], suite: Suite, only: Option<KeyName<'a>>) -> Self {
        SlotWriter { room, used: 0, count: 0, suite, only, first_of: None, rewrapped: None }
    }

    /// Has a rewrap of a slot of `core` leave its data key in `data_key`, once it is verified.
    pub(crate) fn keeping(self, core: &'a ImmutableCore, data_key: &'a mut DataKey) -> Self {
        SlotWriter { rewrapped: Some(Rewrapped { core, data_key }), ..self }
    }

    /// Returns where a rewrap in `context` leaves its data key: nowhere if that is another message's.
    pub(crate) fn take_kept(&mut self, context: &WrapContext<'_>) -> Option<&'a mut DataKey> {
        let kept = self.rewrapped.take_if(|kept| kept.core.as_bytes() == context.core_bytes());
        kept.map(|kept| kept.data_key)
    }

    /// Adds a slot: one wrapped key under one master key version.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Slot`] with the fault; nothing is written then. A keyring returns the error
    /// unchanged.
    pub fn push(&mut self, label: &SlotLabel<'_>, wrapped_key: &[u8]) -> Result<(), KeyringError> {
        if self.skips(label.name) {
            return Ok(());
        }
        self.check(label, wrapped_key)?;
        let count = self.count.checked_add(1).ok_or(SlotFault::TooMany)?;
        let needed = self.used + slot_len(label.name, wrapped_key.len());
        let available = self.room.len();
        let slot = Slot { label: *label, wrapped_key };
        let room = &mut self.room[self.used..];
        match encode_slot(room, &slot) {
            Some(len) => {
                self.used += len;
                self.count = count;
                Ok(())
            }
            None => Err(SlotFault::Room { needed, available }.into()),
        }
    }

    /// Keeps only the first slot of `name` that `push` pushes.
    ///
    /// # Errors
    ///
    /// [`KeyringError::UnknownKey`] if `push` pushed slots of other names only, [`SlotFault::None`] if
    /// it pushed none, and the errors of `push`. No slot is added then.
    pub(crate) fn first_of(
        &mut self,
        name: KeyName<'_>,
        push: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let before = self.count;
        let mut slots = self.scratch();
        slots.first_of = Some(FirstOf { name, before, has_others: false });
        push(&mut slots)?;
        if slots.count > before {
            let (used, count) = (slots.used, slots.count);
            if !self.skips(name) {
                (self.used, self.count) = (used, count);
            }
            return Ok(());
        }
        let has_others = slots.first_of.is_some_and(|first| first.has_others);
        let unknown = KeyringError::UnknownKey { key: name.as_str().into() };
        Err(if has_others { unknown } else { SlotFault::None.into() })
    }

    /// Keeps every slot that `push` pushes, or none if it fails.
    ///
    /// # Errors
    ///
    /// The errors of `push`.
    pub(crate) fn all_of(
        &mut self,
        push: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let mut slots = self.scratch();
        push(&mut slots)?;
        let has_others = slots.first_of.is_some_and(|first| first.has_others);
        (self.used, self.count) = (slots.used, slots.count);
        if let Some(first) = &mut self.first_of {
            first.has_others = has_others;
        }
        Ok(())
    }

    /// Returns a writer that continues here and whose slots are discarded unless taken over.
    fn scratch(&mut self) -> SlotWriter<'_> {
        SlotWriter {
            room: &mut *self.room,
            used: self.used,
            count: self.count,
            suite: self.suite,
            only: self.only,
            first_of: self.first_of,
            rewrapped: self
                .rewrapped
                .as_mut()
                .map(|kept| Rewrapped { core: kept.core, data_key: &mut *kept.data_key }),
        }
    }

    /// Pushes slots that another writer received.
    pub(crate) fn push_all(&mut self, slots: Slots<'_>) -> Result<(), KeyringError> {
        slots.into_iter().try_for_each(|slot| self.push(&slot.label, slot.wrapped_key))
    }

    /// Returns the number of slots so far.
    pub(crate) fn count(&self) -> u8 {
        self.count
    }

    /// Returns the slots written so far.
    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots::new(self.as_bytes(), self.count)
    }

    /// Returns the slots written so far, as a header has them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.room[..self.used]
    }

    /// Returns whether [`first_of`](Self::first_of) skips a slot of `name`.
    fn skips(&mut self, name: KeyName<'_>) -> bool {
        let count = self.count;
        self.first_of.as_mut().is_some_and(|first| {
            let is_other = name != first.name || count > first.before;
            first.has_others |= is_other;
            is_other
        })
    }

    /// Returns the number of slots, or [`SlotFault::None`] if there is none.
    pub(crate) fn finish(&self) -> Result<u8, KeyringError> {
        if self.count == 0 { Err(SlotFault::None.into()) } else { Ok(self.count) }
    }

    fn check(&self, label: &SlotLabel<'_>, wrapped_key: &[u8]) -> Result<(), SlotFault> {
        let name = label.name;
        if self.only.is_some_and(|only| only != name) {
            return Err(SlotFault::OtherName { name: name.as_str().into() });
        }
        if usize::from(self.count) >= MAX_SLOTS {
            return Err(SlotFault::TooMany);
        }
        let len = wrapped_key.len();
        let exact = label.algorithm.wrapped_key_len(self.suite);
        let in_range = (1..=MAX_WRAPPED_KEY_LEN).contains(&len);
        if !in_range || exact.is_some_and(|exact| exact != len) {
            return Err(SlotFault::WrappedKeyLength { algorithm: label.algorithm, len });
        }
        if self.slots().any(|slot| slot.label.same_key(label)) {
            let version = label.version;
            return Err(SlotFault::Duplicate { name: name.as_str().into(), version });
        }
        Ok(())
    }
}

impl fmt::Debug for SlotWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotWriter").field("slots", &self.slots()).finish()
    }
}

/// Writes a header that fills `out`: the core, the slots that `wrap` pushes, then padding.
///
/// On failure `out` is wiped.
pub(crate) fn write_header(
    out: &mut [u8],
    core: &ImmutableCore,
    wrap: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
) -> Result<(), Error> {
    out.fill(0);
    let written = fill_header(out, core, wrap);
    if written.is_err() {
        out.fill(0);
    }
    written
}

fn fill_header(
    out: &mut [u8],
    core: &ImmutableCore,
    wrap: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
) -> Result<(), Error> {
    let available = out.len();
    let header_len = header_len_field(available)?;
    // A header too short for the fixed fields has no room for slots.
    let room = out.get_mut(offset::SLOTS..).unwrap_or(&mut []);
    let mut slots = SlotWriter::new(room, core.suite(), None);
    let written = wrap(&mut slots).and_then(|()| slots.finish());
    let count = written.map_err(|error| match error {
        KeyringError::Slot(SlotFault::Room { needed, .. }) => {
            Error::HeaderRoom { needed: needed + offset::SLOTS, available }
        }
        other => Error::from_wrap(other),
    })?;
    write_fixed(out, core, header_len, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::DataKeyId;

    /// A keyring can call a rewrap with the context of another message.
    #[test]
    fn data_key_of_another_message_is_not_kept() {
        let core = |id| ImmutableCore::from_parts(Suite::Cobblestone256, DataKeyId([id; 16]));
        let (own, other) = (core(1), core(2));
        let mut data_key = DataKey::empty();
        let mut slots = SlotWriter::new(&mut [], own.suite(), None).keeping(&own, &mut data_key);
        assert!(slots.take_kept(&WrapContext::new(&other)).is_none());
        assert!(slots.take_kept(&WrapContext::new(&own)).is_some());
        assert!(slots.take_kept(&WrapContext::new(&own)).is_none());
    }
}
