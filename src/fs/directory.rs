//! The interface to the operating system: one directory, one system call a method.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// One directory, held open.
///
/// # Contract
///
/// - Every method but [`path`](Self::path) and [`effective_uid`](Self::effective_uid) is one
///   system call, named in brackets (listing may take several), is not retried on `EINTR`, and returns
///   the error of the system as it is: the caller decides what each means, and a simulator can record,
///   fail and crash at each.
/// - Names are plain file names, relative to the directory that was opened; neither the working
///   directory of the process nor a later rename of the directory changes what they mean.
/// - No method follows a symbolic link in the last place.
pub trait Directory: Send + Sync {
    /// The path by which it was opened, for errors only.
    fn path(&self) -> &Path;

    /// The effective user of the process.
    fn effective_uid(&self) -> u32;

    /// Opens a file for reading, without waiting for the other end of a FIFO (`openat`). Fails with
    /// `ENOENT` if there is none, `ELOOP` if it is a symbolic link.
    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>>;

    /// Opens a file for reading and writing, without waiting for the other end of a FIFO (`openat`).
    /// Fails with `ENOENT` if there is none, `ELOOP` if it is a symbolic link, `EISDIR` if a
    /// directory.
    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>>;

    /// Creates a file for writing, with mode 0600 from its first byte on (`openat`). Fails with
    /// `EEXIST` if anything has that name, a dangling link included.
    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>>;

    /// Creates a file for writing that has no name, with mode 0600, if [`DirectoryFile::link_new`]
    /// can give it one later (`openat` with `O_TMPFILE`). Fails with `ENOSYS` where no such file, or
    /// no name for it, can be had.
    fn create_unnamed(&self) -> io::Result<Box<dyn DirectoryFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Creates a file to lock it, with mode 0600 (`openat`). Fails with `EEXIST` if anything has that
    /// name, a dangling link included.
    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>>;

    /// Returns the `stat` of a name, of a symbolic link itself (`fstatat`).
    fn stat(&self, name: &OsStr) -> io::Result<FileStat>;

    /// Lists the names in the directory, without `.` and `..` (`getdents`).
    fn list(&self) -> io::Result<Vec<OsString>>;

    /// Renames a file and atomically replaces the one that `to` named (`renameat`).
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;

    /// Renames a file to a name that no file has (`renameat2` with `RENAME_NOREPLACE`). Fails with
    /// `EEXIST` if anything has the name; `EINVAL` or `ENOSYS` where there is no such call.
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;

    /// Gives a file a second name, which no file has (`linkat`). Fails with `EEXIST` if anything has
    /// the name; `EPERM` or `EOPNOTSUPP` where a file has one name only.
    fn link_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes the name of a file that is not a directory (`unlinkat`).
    fn unlink(&self, name: &OsStr) -> io::Result<()>;

    /// Checks that files can be created, renamed and removed (`faccessat`). Fails with `EROFS` or
    /// `EACCES`.
    fn check_writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Waits until all names created, renamed or removed so far are on the medium (`fsync`). Fails
    /// with `EACCES` for a directory that can be searched and not read. After an error, a
    /// second call can report success for what was lost.
    fn sync(&self) -> io::Result<()>;
}

/// One open file of a [`Directory`], closed on drop.
pub trait DirectoryFile: Send + Sync {
    /// Returns the `stat` of the descriptor (`fstat`).
    fn stat(&self) -> io::Result<FileStat>;

    /// Reads up to `out.len()` bytes where the last read ended; 0 at the end of the file (`read`).
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;

    /// Writes a part of `bytes` after what was written before and returns its length (`write`).
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads up to `out.len()` bytes from `offset` on; 0 at the end of the file (`pread`). The
    /// position of [`read`](Self::read) stays as it is.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Overwrites the bytes at `offset` by a part of `bytes` and returns its length (`pwrite`). The
    /// position of [`write`](Self::write) stays as it is.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Gives the file to another user and group (`fchown`). Fails with `EPERM` if the process may
    /// not.
    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()>;

    /// Sets the permission bits, of which `mode` has `0o7777` at most (`fchmod`).
    fn set_mode(&self, mode: u32) -> io::Result<()>;

    /// Reports whether the file was mounted by itself, so that its name cannot change to another file
    /// (`statx`). Returns `false`, and no error, where that is unknown.
    fn is_mount_root(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Waits until everything written to the file system so far is on the medium, names too
    /// (`syncfs`). Fails with `Unsupported` where there is no such call.
    fn sync_file_system(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the access control list of the file as the system keeps it, if it has one
    /// (`fgetxattr`). Returns `None`, and no error, where there are no such lists.
    fn acl(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Sets or removes the access control list of the file, and with it the group bits of its mode
    /// (`fsetxattr` and `fremovexattr`).
    fn set_acl(&self, acl: Option<&[u8]>) -> io::Result<()> {
        match acl {
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => Ok(()),
        }
    }

    /// Waits until the bytes of the file are on the medium (`fsync`). Its name need not be. After an
    /// error, a second call can report success for what was lost.
    fn sync(&self) -> io::Result<()>;

    /// Gives a file from [`Directory::create_unnamed`] a name in that directory, which no file has
    /// (`linkat`). Fails with `EEXIST` if anything has the name.
    fn link_new(&self, to: &OsStr) -> io::Result<()> {
        let _ = to;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes the exclusive lock of this open file, unless another open file has it (`flock`). Fails
    /// with `EWOULDBLOCK` if another has it.
    fn try_lock(&self) -> io::Result<()>;

    /// Releases the lock (`flock`).
    fn unlock(&self) -> io::Result<()>;
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Its kind.
    pub kind: FileKind,
    /// Its permission bits, `0o7777` at most.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its device.
    pub device: u64,
    /// Its inode number on that device.
    pub inode: u64,
    /// When its bytes last changed.
    pub modified: FileTime,
    /// When its bytes, names, owner or mode last changed.
    pub changed: FileTime,
}

impl FileStat {
    /// Device and inode number.
    pub(crate) fn id(&self) -> FileId {
        (self.device, self.inode)
    }

    /// Reports whether both are of one file.
    pub(crate) fn is_same_file(&self, other: &FileStat) -> bool {
        self.id() == other.id()
    }
}

/// Device and inode number, which are the same under all names of a file.
pub(crate) type FileId = (u64, u64);

/// A time that a file system keeps: seconds since 1970, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 999,999,999 at most.
    pub nanoseconds: u32,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A socket, a device, or a kind that this version does not know.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Symlink => "a symbolic link",
            FileKind::Fifo => "a FIFO",
            FileKind::Other => "a device or a socket",
        })
    }
}
