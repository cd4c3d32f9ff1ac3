//! Other slots in the place of a header's.

use super::scratch::Scratch;
use crate::error::Error;
use crate::format::{Header, MAX_HEADER_LEN, Slot, rewrite_header, unpadded_len};

/// Whether the new header may be longer than the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Allowed,
    Refused,
}

impl Growth {
    /// The new header of these slots, at most 16: as long as the old one, so that it can take its
    /// place, or as long as needed, with at least `reserved` bytes of padding.
    pub(super) fn write<'s, I: Iterator<Item = Slot<'s>>>(
        self,
        old: &Header<'_>,
        slots: impl Fn() -> I,
        reserved: usize,
    ) -> Result<Scratch, Error> {
        let (needed, available) = (unpadded_len(slots()), old.len());
        let len = match self {
            _ if needed <= available => available,
            Growth::Refused => return Err(Error::HeaderRoom { needed, available }),
            Growth::Allowed if needed > MAX_HEADER_LEN => {
                return Err(Error::HeaderRoom { needed, available: MAX_HEADER_LEN });
            }
            Growth::Allowed => {
                // SPEC R-GROW: what was reserved is reserved again, as far as a header goes.
                let reserved = old.padding_len().max(reserved);
                // Saturates: no header is longer.
                needed.saturating_add(reserved).min(MAX_HEADER_LEN)
            }
        };
        let mut out = Scratch::zeroed(len);
        rewrite_header(old.core(), slots(), out.as_mut_bytes())?;
        // Whatever a keyring or a hostile header led to, no message is given a header that
        // cannot be read again.
        Header::parse_detached(out.as_bytes())?;
        Ok(out)
    }
}
