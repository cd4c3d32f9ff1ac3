//! Reading and writing all of something, however little one call moves.

use crate::fs::{DirectoryFile, uninterrupted};
use alloc::vec::Vec;
use std::io;

/// Bytes of a header up to its length field and with it.
const LEN_END: usize = 24;

/// Fills `out` from `offset` on; answers how much there was before the end of the file.
pub(super) fn read_at(file: &dyn DirectoryFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled: usize = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match uninterrupted(|| file.read_at(rest, at))? {
            0 => break,
            read => filled = filled.saturating_add(read),
        }
    }
    Ok(filled)
}

/// Reads the header and not a byte of the body; less where the file ends early.
pub(super) fn read_header(file: &dyn DirectoryFile) -> io::Result<Vec<u8>> {
    let mut header = alloc::vec![0; LEN_END];
    let filled = read_at(file, &mut header, 0)?;
    header.truncate(filled);
    if let Some(&[.., high, low]) = header.first_chunk::<LEN_END>() {
        let len = usize::from(u16::from_be_bytes([high, low])).max(LEN_END);
        header.resize(len, 0);
        let rest = header.get_mut(LEN_END..).unwrap_or_default();
        let filled = read_at(file, rest, LEN_END as u64)?;
        header.truncate(LEN_END.saturating_add(filled));
    }
    Ok(header)
}

/// Writes all of `bytes` behind what was written before.
pub(super) fn write(file: &mut dyn DirectoryFile, bytes: &[u8]) -> io::Result<()> {
    all_of(bytes, |rest, _| file.write(rest))
}

/// Writes all of `bytes` over what the file begins with.
pub(super) fn write_at_start(file: &dyn DirectoryFile, bytes: &[u8]) -> io::Result<()> {
    all_of(bytes, |rest, done| file.write_at(rest, done))
}

fn all_of(bytes: &[u8], mut write: impl FnMut(&[u8], u64) -> io::Result<usize>) -> io::Result<()> {
    let mut rest = bytes;
    let mut done: u64 = 0;
    while !rest.is_empty() {
        let written = uninterrupted(|| write(rest, done))?;
        rest = match rest.get(written..) {
            Some(left) if written > 0 => left,
            _ => return Err(io::ErrorKind::WriteZero.into()),
        };
        done = done.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
    }
    Ok(())
}
