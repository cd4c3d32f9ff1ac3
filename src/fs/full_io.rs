//! Reads and writes that go on until all bytes are moved.

use super::call::uninterrupted;
use super::directory::DirectoryFile;
use std::io;

/// Calls `read` with the rest of `out` and the number of bytes read so far, until `out` is full or
/// the input ends. Returns how many bytes were read.
pub(crate) fn fill(
    out: &mut [u8],
    mut read: impl FnMut(&mut [u8], usize) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled: usize = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(rest, filled)? {
            0 => break,
            // Saturates: past the end of `out` there is no rest.
            len => filled = filled.saturating_add(len),
        }
    }
    Ok(filled.min(out.len()))
}

/// Fills `out` from `offset` on. Returns how many bytes there are before the end of the file.
pub(crate) fn read_at(file: &dyn DirectoryFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    fill(out, |rest, filled| {
        let at = u64::try_from(filled).ok().and_then(|filled| offset.checked_add(filled));
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        uninterrupted(|| file.read_at(rest, at))
    })
}

/// Writes all of `bytes` after what was written before.
pub(crate) fn write_all(file: &mut dyn DirectoryFile, bytes: &[u8]) -> io::Result<()> {
    drain(bytes, |rest, _| file.write(rest))
}

/// Writes all of `bytes` over the start of the file.
pub(crate) fn write_at_start(file: &dyn DirectoryFile, bytes: &[u8]) -> io::Result<()> {
    drain(bytes, |rest, done| file.write_at(rest, done))
}

fn drain(bytes: &[u8], mut write: impl FnMut(&[u8], u64) -> io::Result<usize>) -> io::Result<()> {
    let mut rest = bytes;
    let mut done: u64 = 0;
    while !rest.is_empty() {
        let len = uninterrupted(|| write(rest, done))?;
        rest = rest.get(len..).filter(|_| len > 0).ok_or(io::ErrorKind::WriteZero)?;
        done = u64::try_from(len)
            .ok()
            .and_then(|len| done.checked_add(len))
            .ok_or(io::ErrorKind::InvalidInput)?;
    }
    Ok(())
}
