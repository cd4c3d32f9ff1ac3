//! A new file that is to be as open and as closed as the one it stands for.

use super::error::{MessageFileError, refused};
use crate::fs::{DirectoryFile, FileAction, FileStat, uninterrupted};
use std::path::Path;

/// Gives `file` the owner, the group and the mode that `model` has. Where that is not allowed, it
/// is an error: a copy in other hands would be read by others, or kept from those who read it.
pub(super) fn resemble(
    file: &dyn DirectoryFile,
    model: &FileStat,
    path: &Path,
) -> Result<(), MessageFileError> {
    let stat = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
    let owner_differs = (stat.uid, stat.gid) != (model.uid, model.gid);
    if owner_differs {
        uninterrupted(|| file.set_owner(model.uid, model.gid))
            .map_err(refused(FileAction::SetOwner, path))?;
    }
    // After the owner: a change of that can take bits away.
    if owner_differs || stat.mode != model.mode {
        uninterrupted(|| file.set_mode(model.mode)).map_err(refused(FileAction::SetOwner, path))?;
    }
    Ok(())
}
