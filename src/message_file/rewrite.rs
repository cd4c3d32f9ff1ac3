//! A new file with a longer header and the same body.

use super::message::read_header;
use super::paths::MessagePaths;
use crate::fs::{FileAction, FileError, FileLock, copy_ownership, failed, read_at, stat_of};
use std::io;

/// How much is copied at once.
const BUFFER_LEN: usize = 256 * 1024;

/// Replaces the file by one with the header `new` in the place of `old`, durably.
pub(super) fn rewrite(
    paths: &MessagePaths,
    message: &FileLock,
    old: &[u8],
    new: &[u8],
) -> Result<(), FileError> {
    let path = &paths.message.path;
    let before = stat_of(&*message.file, path)?;
    let mut file = paths.new_file()?;
    copy_ownership(&*message.file, file.file(), file.path())?;
    file.write(new)?;
    let mut buffer = alloc::vec![0; BUFFER_LEN];
    let mut at = old.len() as u64;
    loop {
        let read =
            read_at(&*message.file, &mut buffer, at).map_err(failed(FileAction::Read, path))?;
        let bytes = buffer.get(..read).ok_or(io::ErrorKind::InvalidData.into());
        file.write(bytes.map_err(failed(FileAction::Read, path))?)?;
        // Saturates: more than `before.len` is refused below.
        at = at.saturating_add(read as u64);
        if read < BUFFER_LEN {
            break;
        }
    }
    file.sync()?;
    let after = stat_of(&*message.file, path)?;
    if (before.len, before.modified) != (after.len, after.modified) || at != before.len {
        return Err(FileError::Changed { path: path.clone() });
    }
    check_unchanged(paths, message, old)?;
    file.replace()?;
    paths.sync_names()
}

/// Refuses if a process that does not use the lock replaced the file or its header.
pub(super) fn check_unchanged(
    paths: &MessagePaths,
    message: &FileLock,
    old: &[u8],
) -> Result<(), FileError> {
    let path = &paths.message.path;
    let header = read_header(&*message.file).map_err(failed(FileAction::Read, path))?;
    if header != old || !message.is_current()? {
        return Err(FileError::Changed { path: path.clone() });
    }
    Ok(())
}
