//! Owner, group, mode and access control list of a file, kept when another file takes its place.

use super::action::FileAction;
use super::call::uninterrupted;
use super::directory::DirectoryFile;
use super::error::{FileError, failed};
use super::location::stat_of;
use alloc::vec::Vec;
use std::io;
use std::path::Path;

/// Owner, group, mode and access control list of a file.
///
/// The group bits of a mode are the *mask* of the list where there is one: a mode that is copied
/// without its list gives the whole mask to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
    acl: Option<Vec<u8>>,
}

impl Access {
    /// Returns that of an open file.
    ///
    /// # Errors
    ///
    /// Those of `fstat` and `fgetxattr`.
    pub(crate) fn of(file: &dyn DirectoryFile) -> io::Result<Self> {
        let stat = uninterrupted(|| file.stat())?;
        let acl = uninterrupted(|| file.acl())?;
        Ok(Access { uid: stat.uid, gid: stat.gid, mode: stat.mode, acl })
    }

    /// Gives the same to `file`, which has `now`.
    ///
    /// All of it or an error: a file in other hands would be read by others, or kept from those
    /// who read it. One exception: what was root's may become this process's own, because root
    /// reads and changes every file anyway.
    ///
    /// # Errors
    ///
    /// Those of `fchown`, `fchmod`, `fsetxattr`: `EPERM` for who may not.
    pub(crate) fn give_to(&self, file: &dyn DirectoryFile, now: &Access) -> io::Result<()> {
        if now == self {
            return Ok(());
        }
        let owner_differs = (now.uid, now.gid) != (self.uid, self.gid);
        if owner_differs {
            self.give_owner(file, now)?;
        }
        // A list that the directory gave: its entries must not wake up with the mode.
        if now.acl.is_some() && now.acl != self.acl {
            uninterrupted(|| file.set_acl(None))?;
        }
        // After the owner: a change of that can take bits away.
        if owner_differs || now.acl != self.acl || now.mode != self.mode {
            // The list brings the group's bits back; until then they are the group's own.
            let mode = if self.acl.is_some() { self.mode & !0o070 } else { self.mode };
            uninterrupted(|| file.set_mode(mode))?;
        }
        match &self.acl {
            Some(acl) => uninterrupted(|| file.set_acl(Some(acl))),
            None => Ok(()),
        }
    }

    /// What a lock file beside the file gets: a lock is opened for writing, so that whoever may
    /// only read the file cannot hold it.
    pub(crate) fn for_lock(&self) -> Self {
        // With a list, the group bits are its mask.
        let others = if self.acl.is_some() { 0 } else { self.mode & 0o066 };
        Access { mode: 0o600 | others, acl: None, ..self.clone() }
    }

    fn give_owner(&self, file: &dyn DirectoryFile, now: &Access) -> io::Result<()> {
        match uninterrupted(|| file.set_owner(self.uid, self.gid)) {
            Err(error) if self.uid == 0 && error.kind() == io::ErrorKind::PermissionDenied => {
                if now.gid == self.gid {
                    return Ok(());
                }
                uninterrupted(|| file.set_owner(now.uid, self.gid))
            }
            answer => answer,
        }
    }
}

/// Gives `to`, which errors call `path`, the owner, group, mode and access control list of `from`.
/// Where that is not allowed, it is an error: a copy of another owner would be read by others, or
/// kept from those who read the original.
pub(crate) fn copy_ownership(
    from: &dyn DirectoryFile,
    to: &dyn DirectoryFile,
    path: &Path,
) -> Result<(), FileError> {
    let access = |file| Access::of(file).map_err(failed(FileAction::Inspect, path));
    access(from)?.give_to(to, &access(to)?).map_err(failed(FileAction::SetOwner, path))?;
    // A file of root's can become one of this process, and a journal of that owner is refused.
    let owner = |file| stat_of(file, path).map(|stat| (stat.uid, stat.gid));
    if owner(to)? == owner(from)? {
        return Ok(());
    }
    Err(failed(FileAction::SetOwner, path)(io::ErrorKind::PermissionDenied.into()))
}
