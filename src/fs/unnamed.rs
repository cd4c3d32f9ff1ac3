//! Files that have no name until they are finished, on Linux.

use rustix::fs::Mode;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

/// A file without a name, and the directory in which it can get one.
pub(super) struct Unnamed {
    pub(super) file: OwnedFd,
    pub(super) directory: OwnedFd,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Unnamed {
    /// Creates one, if [`link`] can give it a name: that goes by `/proc`, which need not be there.
    pub(super) fn create(directory: &OwnedFd, mode: Mode) -> io::Result<Self> {
        use rustix::fs::{OFlags, fstat, openat, stat};
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(directory, ".", flags, mode)?;
        let (held, found) = (fstat(&file)?, stat(path(&file))?);
        if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Unnamed { file, directory: directory.try_clone()? })
    }
}

/// Gives a file without a name the name `to`, which nothing has yet.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn link(file: &OwnedFd, directory: &OwnedFd, to: &OsStr) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    Ok(linkat(CWD, path(file), directory, to, AtFlags::SYMLINK_FOLLOW)?)
}

/// What any process may link an open file by; by the descriptor alone only the privileged can.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn path(file: &OwnedFd) -> alloc::string::String {
    use std::os::fd::AsRawFd;
    alloc::format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Unnamed {
    pub(super) fn create(_: &OwnedFd, _: Mode) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn link(_: &OwnedFd, _: &OwnedFd, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
