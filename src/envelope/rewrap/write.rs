//! The new header of a message.

use crate::envelope::scratch::Scratch;
use crate::error::Error;
use crate::format::{Header, MAX_HEADER_LEN, Slot, rewrite_header, unpadded_len};
use alloc::vec::Vec;

/// The header of a message after a rewrap or grant.
pub(super) struct NewHeader(Scratch);

impl NewHeader {
    /// Returns an empty header, to be written once a slot has opened: a long one allocates.
    #[inline]
    pub(super) fn empty() -> Self {
        NewHeader(Scratch::zeroed(0))
    }

    /// Writes a copy of the old header: nothing changes.
    pub(super) fn keep(&mut self, old: &Header<'_>) {
        self.0.set_len(old.len()).copy_from_slice(old.as_bytes());
    }

    /// Writes a header of these slots, at most 16 (SPEC R-WHOLE). It has the length of the old one if they
    /// fit, so that it can replace it in place. Otherwise it has at least `reserved` bytes of padding.
    pub(super) fn write<'s, I: Iterator<Item = Slot<'s>>>(
        &mut self,
        old: &Header<'_>,
        slots: impl Fn() -> I,
        reserved: usize,
    ) -> Result<(), Error> {
        let needed = unpadded_len(slots());
        let len = match needed {
            _ if needed <= old.len() => old.len(),
            _ if needed > MAX_HEADER_LEN => {
                return Err(Error::HeaderRoom { needed, available: MAX_HEADER_LEN });
            }
            // SPEC R-GROW: reserved room is reserved again, up to the longest header.
            // Saturates: no header is longer.
            _ => needed.saturating_add(old.padding_len().max(reserved)).min(MAX_HEADER_LEN),
        };
        let out = self.0.set_len(len);
        rewrite_header(old.core(), slots(), out)?;
        // No message gets a header that does not parse, whatever the keyring or the old header.
        Header::parse_detached(out).map(|_| ())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Overwrites the header of the same message, which has its length. All checks precede the copy (SPEC
    /// R-WHOLE).
    pub(super) fn write_over(&self, message: &mut [u8]) -> Result<(), Error> {
        let (new, old) = (Header::parse_detached(self.as_bytes())?, Header::parse(message)?);
        if new.core().as_bytes() != old.core().as_bytes() {
            let (opened, found) = (new.data_key_id(), old.data_key_id());
            return Err(Error::OtherMessage { opened, found });
        }
        let (needed, available) = (unpadded_len(new.slots()), old.len());
        let room = message.get_mut(..available).filter(|room| room.len() == new.len());
        room.ok_or(Error::HeaderRoom { needed, available })?.copy_from_slice(new.as_bytes());
        Ok(())
    }
}
