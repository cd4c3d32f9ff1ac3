//! The real directory, over `rustix`.

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
use super::call::is_unsupported;
use super::call::uninterrupted;
use super::directory::{Directory, DirectoryFile, FileKind, FileStat, FileTime};
use alloc::boxed::Box;
use alloc::vec::Vec;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The flags of every open: no link followed, no inheritance, no waiting for a FIFO's other end.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Read and write for the owner, nothing for anybody else.
const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// The extended attribute that an access control list is, and the most bytes of any.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ACL: &str = "system.posix_acl_access";
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_ACL_LEN: usize = 64 << 10;

/// A directory of the operating system, held open by its descriptor.
#[derive(Debug)]
pub struct OsDirectory {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether it is open for searching alone: it can neither be listed nor synced.
    is_search_only: bool,
}

/// Why a path does not lead to a file in a directory.
#[derive(Debug)]
pub enum PathFault {
    /// It does not end in the name of a file.
    Name,
    /// Its directory cannot be opened.
    Directory {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl OsDirectory {
    /// Opens the directory that `path` lies in, and splits off the name of the file.
    ///
    /// Links on the way to the directory are followed; the file itself is not looked at.
    ///
    /// # Errors
    ///
    /// [`PathFault::Name`] if the path ends in `..`, `/` or nothing; [`PathFault::Directory`] if
    /// the directory can neither be read nor searched.
    pub fn of_file(path: &Path) -> Result<(Self, OsString), PathFault> {
        let (parent, name) = split(path)?;
        Ok((OsDirectory::open_at(parent)?, name))
    }

    fn open_at(path: &Path) -> Result<Self, PathFault> {
        let open = |flags| {
            let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
            uninterrupted(|| Ok(rustix::fs::open(path, flags, Mode::empty())?))
        };
        let (fd, is_search_only) = match open(OFlags::RDONLY) {
            // Mode 0711: the files in it can be reached, and their names not listed.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (open(OFlags::PATH), true)
            }
            fd => (fd, false),
        };
        let fd = fd.map_err(|error| PathFault::Directory { path: path.to_path_buf(), error })?;
        Ok(OsDirectory { fd, path: path.to_path_buf(), is_search_only })
    }

    /// Reports whether it can only be searched, neither listed nor synced.
    pub(crate) fn is_search_only(&self) -> bool {
        self.is_search_only
    }

    /// Returns the owner of the directory.
    pub(super) fn owner(&self) -> io::Result<u32> {
        Ok(file_stat(&rustix::fs::fstat(&self.fd)?).uid)
    }

    /// Returns the target of the link `name`.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(OsStr::from_bytes(target.to_bytes()).to_os_string())
    }

    fn openat(&self, name: &OsStr, flags: OFlags) -> io::Result<Box<dyn DirectoryFile>> {
        let fd = rustix::fs::openat(&self.fd, name, flags | ALWAYS, OWNER_ONLY)?;
        Ok(Box::new(OsFile { fd, directory: None }))
    }
}

/// Splits a path into its directory and the name of the file.
fn split(path: &Path) -> Result<(&Path, OsString), PathFault> {
    let name = path.file_name().ok_or(PathFault::Name)?;
    // `file_name` overlooks a slash or `/.` at the end, which only a directory can have.
    if !path.as_os_str().as_bytes().ends_with(name.as_bytes()) {
        return Err(PathFault::Name);
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok((parent, name.to_os_string())),
        _ => Ok((Path::new("."), name.to_os_string())),
    }
}

impl Directory for OsDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn effective_uid(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.openat(name, OFlags::RDONLY)
    }

    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.openat(name, OFlags::RDWR)
    }

    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.openat(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn create_unnamed(&self) -> io::Result<Box<dyn DirectoryFile>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, OWNER_ONLY)?;
        // It gets its name by `/proc`, which need not be there.
        let (opened, found) = (rustix::fs::fstat(&fd)?, rustix::fs::stat(proc_path(&fd))?);
        if (opened.st_dev, opened.st_ino) != (found.st_dev, found.st_ino) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Box::new(OsFile { fd, directory: Some(self.fd.try_clone()?) }))
    }

    // Writable although nothing is written: NFS grants an exclusive lock to writers only.
    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.openat(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(file_stat(&rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_os_string());
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename_new(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(rustix::io::Errno::NOSYS.into())
    }

    fn link_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    fn check_writable(&self) -> io::Result<()> {
        let rights = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        Ok(rustix::fs::accessat(&self.fd, ".", rights, AtFlags::EACCESS)?)
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_search_only {
            return Err(rustix::io::Errno::ACCESS.into());
        }
        sync(&self.fd)
    }
}

/// An open file of the operating system.
struct OsFile {
    fd: OwnedFd,
    /// Where a file that was created without a name can get one.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code, reason = "every file has a name")
    )]
    directory: Option<OwnedFd>,
}

impl DirectoryFile for OsFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(file_stat(&rustix::fs::fstat(&self.fd)?))
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, out)?)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.fd, bytes)?)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.fd, out, offset)?)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(&self.fd, bytes, offset)?)
    }

    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        Ok(rustix::fs::fchown(&self.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
    }

    // The type is narrower on some systems; 12 bits fit everywhere.
    #[allow(clippy::unnecessary_cast)]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode((mode & 0o7777) as _))?)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn acl(&self) -> io::Result<Option<Vec<u8>>> {
        let mut acl = alloc::vec![0; MAX_ACL_LEN];
        match rustix::fs::fgetxattr(&self.fd, ACL, &mut acl) {
            Ok(len) => {
                acl.truncate(len);
                Ok(Some(acl))
            }
            Err(rustix::io::Errno::NODATA) => Ok(None),
            Err(error) => {
                let error = error.into();
                if is_unsupported(&error) { Ok(None) } else { Err(error) }
            }
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set_acl(&self, acl: Option<&[u8]>) -> io::Result<()> {
        let Some(acl) = acl else { return Ok(rustix::fs::fremovexattr(&self.fd, ACL)?) };
        Ok(rustix::fs::fsetxattr(&self.fd, ACL, acl, rustix::fs::XattrFlags::empty())?)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn is_mount_root(&self) -> io::Result<bool> {
        use rustix::fs::{StatxAttributes, StatxFlags, statx};
        match statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
            Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
            // Kernels and sandboxes without the call.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.fd)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn link_new(&self, to: &OsStr) -> io::Result<()> {
        let directory = self.directory.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let (from, flags) = (proc_path(&self.fd), AtFlags::SYMLINK_FOLLOW);
        Ok(rustix::fs::linkat(rustix::fs::CWD, from, directory, to, flags)?)
    }

    fn try_lock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive)?)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.fd, FlockOperation::Unlock)?)
    }
}

/// The path by which any process may link an open file; by the descriptor alone only the privileged
/// can.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn proc_path(file: &OwnedFd) -> alloc::string::String {
    use std::os::fd::AsRawFd;
    alloc::format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn sync(fd: impl AsFd) -> io::Result<()> {
    // There `fsync` gives the bytes to the drive and does not wait for it; network and FAT drivers
    // have no other call.
    #[cfg(target_vendor = "apple")]
    match rustix::fs::fcntl_fullfsync(&fd).map_err(io::Error::from) {
        Err(error) if is_unsupported(&error) => {}
        answer => return answer,
    }
    Ok(rustix::fs::fsync(fd)?)
}

// The fields have another width and sign on each system; none of them loses a bit here.
#[allow(clippy::unnecessary_cast)]
pub(super) fn file_stat(stat: &Stat) -> FileStat {
    FileStat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Fifo => FileKind::Fifo,
            _ => FileKind::Other,
        },
        mode: stat.st_mode as u32 & 0o7777,
        uid: stat.st_uid as u32,
        gid: stat.st_gid as u32,
        links: stat.st_nlink as u64,
        len: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        modified: file_time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: file_time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

fn file_time(seconds: i64, nanoseconds: i64) -> FileTime {
    FileTime { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) }
}
