//! Owner, group, mode and access control list of a file, kept when another file takes its place.

use super::call::uninterrupted;
use super::directory::DirectoryFile;
use super::error::{FileAction, FileError, failed};
use super::location::stat_of;
use alloc::vec::Vec;
use std::io;
use std::path::Path;

/// Owner, group, mode and access control list of a file.
///
/// Where there is a list, the group bits of the mode are its *mask*: a mode that is copied without its
/// list gives the whole mask to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
    acl: Option<Vec<u8>>,
}

impl Access {
    /// Returns the access rights of an open file.
    pub(crate) fn of(file: &dyn DirectoryFile) -> io::Result<Self> {
        let stat = uninterrupted(|| file.stat())?;
        let acl = uninterrupted(|| file.acl())?;
        Ok(Access { uid: stat.uid, gid: stat.gid, mode: stat.mode, acl })
    }

    /// Sets these access rights on `file`, which has `now`.
    ///
    /// All of them or an error: with another owner, others could read the file, or its readers could
    /// not. One exception: a file of root's may become one of this process, because root reads and
    /// changes every file anyway.
    ///
    /// # Errors
    ///
    /// Those of `fchown`, `fchmod`, `fsetxattr`: `EPERM` if the process may not.
    pub(crate) fn give_to(&self, file: &dyn DirectoryFile, now: &Access) -> io::Result<()> {
        if now == self {
            return Ok(());
        }
        let owner_differs = (now.uid, now.gid) != (self.uid, self.gid);
        if owner_differs {
            self.give_owner(file, now)?;
        }
        // A list that the directory gave: the new mode must not enable its entries.
        if now.acl.is_some() && now.acl != self.acl {
            uninterrupted(|| file.set_acl(None))?;
        }
        // After the owner, whose change can clear bits.
        if owner_differs || now.acl != self.acl || now.mode != self.mode {
            // The list sets these bits again; without it they would be the rights of the group.
            let mode = if self.acl.is_some() { self.mode & !0o070 } else { self.mode };
            uninterrupted(|| file.set_mode(mode))?;
        }
        match &self.acl {
            Some(acl) => uninterrupted(|| file.set_acl(Some(acl))),
            None => Ok(()),
        }
    }

    /// Returns the rights of a lock file for this file: a lock is opened for writing, so that a process
    /// that may only read the file cannot lock it.
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
