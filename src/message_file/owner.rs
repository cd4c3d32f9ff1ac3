//! A new file that is to be as open and as closed as the one it stands for.

use super::error::{MessageFileError, refused};
use crate::fs::{Access, DirectoryFile, FileAction, uninterrupted};
use std::io;
use std::path::Path;

/// Gives `file` the owner, group, mode and access control list that `model` has. Where that is not
/// allowed, it is an error: a copy in other hands would be read by others, or kept from those who
/// read it.
pub(super) fn resemble(
    file: &dyn DirectoryFile,
    model: &dyn DirectoryFile,
    path: &Path,
) -> Result<(), MessageFileError> {
    let access = |file| Access::of(file).map_err(refused(FileAction::Inspect, path));
    access(model)?.give_to(file, &access(file)?).map_err(refused(FileAction::SetOwner, path))?;
    // What root owned could become this process's own, and a journal of that would not be believed.
    let owner = |file: &dyn DirectoryFile| {
        let stat = uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, path))?;
        Ok((stat.uid, stat.gid))
    };
    if owner(file)? == owner(model)? {
        return Ok(());
    }
    Err(refused(FileAction::SetOwner, path)(io::ErrorKind::PermissionDenied.into()))
}
