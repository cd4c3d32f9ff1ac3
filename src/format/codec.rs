//! Concatenation of byte strings without allocation.

/// Writes `fields` in order to the start of `out` and returns their total length. Returns `None`,
/// with `out` partly written, if they do not fit.
pub(crate) fn concat(out: &mut [u8], fields: &[&[u8]]) -> Option<usize> {
    let mut len = 0_usize;
    let mut rest = out;
    for field in fields {
        let (room, after) = rest.split_at_mut_checked(field.len())?;
        room.copy_from_slice(field);
        len += field.len();
        rest = after;
    }
    Some(len)
}
