//! System calls with retries and fall-backs, reads and writes that go on until all bytes are moved,
//! and the meaning of errors.

use super::directory::{Directory, DirectoryFile, FileKind};
pub(crate) use crate::io::uninterrupted;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;

/// Returns the kind of a file that an open refused, if the error says so.
pub(crate) fn kind_in_the_way(error: &io::Error) -> Option<FileKind> {
    match Errno::from_io_error(error) {
        // FreeBSD returns EMLINK for a link that is not to be followed.
        Some(Errno::LOOP | Errno::MLINK) => Some(FileKind::Symlink),
        Some(Errno::ISDIR) => Some(FileKind::Directory),
        Some(Errno::NXIO) => Some(FileKind::Other),
        _ => None,
    }
}

/// Moves a file to a name that no file has, atomically or not at all. One attempt.
///
/// Where there is no `renameat2`, a hard link is created and the first name removed.
pub(crate) fn move_new(directory: &dyn Directory, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match directory.rename_new(from, to) {
        Err(error) if is_unsupported(&error) => {
            directory.link_new(from, to).map_err(|error| match Errno::from_io_error(&error) {
                // `linkat` on a file system without hard links.
                Some(Errno::PERM) => io::ErrorKind::Unsupported.into(),
                _ => error,
            })?;
            // The file has its name; a failure leaves a second one.
            drop(uninterrupted(|| directory.unlink(from)));
            Ok(())
        }
        answer => answer,
    }
}

/// As [`move_new`], for a caller whose lock keeps all others from the name: where the file system has
/// no atomic call, a `stat` of the name comes first.
pub(crate) fn rename_new(directory: &dyn Directory, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match move_new(directory, from, to) {
        Err(error) if is_unsupported(&error) => match directory.stat(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.rename(from, to),
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) => Err(error),
        },
        answer => answer,
    }
}

/// Reports whether the file system has no such call for that kind of file.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    // The last two are one number on Linux and two elsewhere.
    let codes = [Errno::INVAL, Errno::NOSYS, Errno::NOTTY, Errno::OPNOTSUPP, Errno::NOTSUP];
    error.kind() == io::ErrorKind::Unsupported
        || Errno::from_io_error(error).is_some_and(|code| codes.contains(&code))
}

/// Reports whether the cause may pass: space, descriptors, memory, a signal, a network.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::StaleNetworkFileHandle
    ) || error
        .raw_os_error()
        .is_some_and(|code| [Errno::MFILE, Errno::NFILE].iter().any(|e| e.raw_os_error() == code))
}

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
