//! Encoding of slots and of headers.

use super::{ImmutableCore, MAX_HEADER_LEN, Slot, SlotLabel, codec, offset};
use crate::error::Error;

/// Returns the length in bytes of a header of these slots without padding.
pub(crate) fn unpadded_len<'s>(slots: impl Iterator<Item = Slot<'s>>) -> usize {
    slots.map(|slot| slot.encoded_len()).fold(offset::SLOTS, |all, len| all + len)
}

/// Writes a header that fills `out`: the core, at most 16 slots unchanged, then padding
/// (SPEC R-CORE, R-KEEP).
///
/// # Errors
///
/// [`Error::HeaderRoom`] if the slots do not fit in `out`.
pub(crate) fn rewrite_header<'s>(
    core: &ImmutableCore,
    slots: impl Iterator<Item = Slot<'s>>,
    out: &mut [u8],
) -> Result<(), Error> {
    let available = out.len();
    let header_len = header_len_field(available)?;
    out.fill(0);
    let mut position = offset::SLOTS;
    let mut count = 0_u8;
    for slot in slots {
        let needed = position + slot.encoded_len();
        let no_room = || Error::HeaderRoom { needed, available };
        let room = out.get_mut(position..needed).ok_or_else(no_room)?;
        encode_slot(room, &slot).ok_or_else(no_room)?;
        position = needed;
        count = count.checked_add(1).ok_or_else(no_room)?;
    }
    write_fixed(out, core, header_len, count)
}

/// Writes the fields before the slots.
pub(crate) fn write_fixed(
    out: &mut [u8],
    core: &ImmutableCore,
    header_len: [u8; 2],
    count: u8,
) -> Result<(), Error> {
    let available = out.len();
    let no_room = || Error::HeaderRoom { needed: offset::SLOTS, available };
    codec::concat(out, &[core.as_bytes(), &header_len, &[count]]).map(drop).ok_or_else(no_room)
}

/// Returns the length field of a header of `len` bytes, or [`Error::HeaderRoom`] above 65,535.
pub(crate) fn header_len_field(len: usize) -> Result<[u8; 2], Error> {
    let too_long = |_| Error::HeaderRoom { needed: len, available: MAX_HEADER_LEN };
    u16::try_from(len).map(u16::to_be_bytes).map_err(too_long)
}

/// Writes one slot to the start of `room` and returns its length, or `None` if it does not fit.
pub(crate) fn encode_slot(room: &mut [u8], slot: &Slot<'_>) -> Option<usize> {
    let SlotLabel { name, version, master_key_id, algorithm } = slot.label;
    let name_len = u8::try_from(name.len()).ok()?;
    let wrapped_len = u16::try_from(slot.wrapped_key.len()).ok()?;
    let fields: [&[u8]; 6] = [
        &version.number().to_be_bytes(),
        &master_key_id.0,
        &[algorithm.id(), name_len],
        &wrapped_len.to_be_bytes(),
        name.as_bytes(),
        slot.wrapped_key,
    ];
    codec::concat(room, &fields)
}
