//! A longer header, and the same body behind it, in a new file.

use super::bytes::{read_at, read_header};
use super::error::{MessageFileError, refused};
use super::lock::Locked;
use super::owner::resemble;
use super::paths::MessagePaths;
use super::temp_file::TempFile;
use crate::error::Error;
use crate::fs::{FileAction, uninterrupted};

/// How much is copied at once.
const BUFFER_LEN: usize = 256 * 1024;

/// Replaces the file by one that begins with `new` and goes on as it does behind `old`.
pub(super) fn copy(
    place: &MessagePaths,
    message: &Locked,
    old: &[u8],
    new: &[u8],
) -> Result<(), Error> {
    let path = &place.message.path;
    let inspect =
        || uninterrupted(|| message.file.stat()).map_err(refused(FileAction::Inspect, path));
    let before = inspect()?;
    let mut file = TempFile::create(place)?;
    resemble(file.file(), &*message.file, file.path())?;
    file.write(new)?;
    let mut buffer = alloc::vec![0; BUFFER_LEN];
    let mut at = u64::try_from(old.len()).unwrap_or(u64::MAX);
    loop {
        let read =
            read_at(&*message.file, &mut buffer, at).map_err(refused(FileAction::Read, path))?;
        file.write(buffer.get(..read).unwrap_or_default())?;
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if read < BUFFER_LEN {
            break;
        }
    }
    file.sync()?;
    let after = inspect()?;
    if (before.len, before.modified) != (after.len, after.modified) || at != before.len {
        return Err(MessageFileError::Changed { path: path.clone() }.into());
    }
    check_basis(place, message, old)?;
    file.replace()
}

/// Refuses if somebody who does not heed the lock replaced the file or its header.
pub(super) fn check_basis(
    place: &MessagePaths,
    message: &Locked,
    old: &[u8],
) -> Result<(), MessageFileError> {
    let path = &place.message.path;
    let header = read_header(&*message.file).map_err(refused(FileAction::Read, path))?;
    if header != old || !place.is_named(&place.message, &message.stat)? {
        return Err(MessageFileError::Changed { path: path.clone() });
    }
    Ok(())
}
