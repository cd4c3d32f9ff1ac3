//! The effect of each system call on the simulated directory.

use super::{
    EAGAIN, EEXIST, EINVAL, EISDIR, ELOOP, ENOSYS, EOPNOTSUPP, EPERM, Kind, Lacks, Of,
    SimulatedDirectory, USER,
};
use envelock::test_access::key_file::{Directory, DirectoryFile, FileKind, FileStat};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

impl Directory for SimulatedDirectory {
    fn path(&self) -> &Path {
        Path::new("/simulated")
    }

    fn effective_uid(&self) -> u32 {
        USER
    }

    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.call(Kind::Open, Of::Name(name), |state, _| {
            let inode = state.find(name)?;
            match state.disk.inodes[&inode].kind {
                FileKind::Symlink => Err(io::Error::from_raw_os_error(ELOOP)),
                _ => Ok(self.handle(state, inode)),
            }
        })
    }

    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.call(Kind::OpenWrite, Of::Name(name), |state, _| {
            let inode = state.find(name)?;
            match state.disk.inodes[&inode].kind {
                FileKind::Symlink => Err(io::Error::from_raw_os_error(ELOOP)),
                FileKind::Directory => Err(io::Error::from_raw_os_error(EISDIR)),
                _ => Ok(self.handle(state, inode)),
            }
        })
    }

    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.call(Kind::Create, Of::Name(name), |state, _| {
            let most = state.lacks.names_over;
            Lacks::refuses(most > 0 && name.len() > most, super::ENAMETOOLONG)?;
            if state.disk.lookup(name).is_some() {
                return Err(io::Error::from_raw_os_error(EEXIST));
            }
            let inode = state.add(FileKind::Regular, 0o600, USER);
            state.disk.set_name(name, Some(inode));
            Ok(self.handle(state, inode))
        })
    }

    fn create_unnamed(&self) -> io::Result<Box<dyn DirectoryFile>> {
        self.call(Kind::CreateUnnamed, Of::Directory, |state, _| {
            Lacks::refuses(state.lacks.unnamed, EOPNOTSUPP)?;
            let inode = state.add(FileKind::Regular, 0o600, USER);
            Ok(self.handle(state, inode))
        })
    }

    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.call(Kind::OpenLock, Of::Name(name), |state, _| {
            if state.disk.lookup(name).is_some() {
                return Err(io::Error::from_raw_os_error(EEXIST));
            }
            let inode = state.add(FileKind::Regular, 0o600, USER);
            state.disk.set_name(name, Some(inode));
            Ok(self.handle(state, inode))
        })
    }

    fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        self.call(Kind::StatName, Of::Name(name), |state, _| Ok(state.file_stat(state.find(name)?)))
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        self.call(Kind::List, Of::Directory, |state, _| Ok(state.disk.list()))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.call(Kind::Rename, Of::Name(from), |state, _| {
            let inode = state.find(from)?;
            if let Some(replaced) = state.disk.lookup(to) {
                state.touch(replaced);
            }
            state.touch(inode);
            state.disk.set_name(to, Some(inode));
            state.disk.set_name(from, None);
            Ok(())
        })
    }

    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.call(Kind::Rename, Of::Name(from), |state, _| {
            Lacks::refuses(state.lacks.moves, EINVAL)?;
            let inode = state.find(from)?;
            if state.disk.lookup(to).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.touch(inode);
            state.disk.set_name(to, Some(inode));
            state.disk.set_name(from, None);
            Ok(())
        })
    }

    fn link_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.call(Kind::Link, Of::Name(to), |state, _| {
            Lacks::refuses(state.lacks.links, EPERM)?;
            let inode = state.find(from)?;
            state.link(inode, to)
        })
    }

    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        self.call(Kind::Unlink, Of::Name(name), |state, _| {
            let inode = state.find(name)?;
            if state.disk.inodes[&inode].kind == FileKind::Directory {
                return Err(io::Error::from_raw_os_error(EISDIR));
            }
            state.touch(inode);
            state.disk.set_name(name, None);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.call(Kind::SyncDirectory, Of::Directory, |state, _| {
            Lacks::refuses(state.lacks.directory_syncs, EINVAL)?;
            if state.is_effective_sync(None) {
                state.disk.sync_names();
            }
            Ok(())
        })
    }
}

/// One open file.
pub struct SimulatedFile {
    pub directory: SimulatedDirectory,
    pub id: u64,
    pub inode: u64,
    pub offset: usize,
}

impl DirectoryFile for SimulatedFile {
    fn stat(&self) -> io::Result<FileStat> {
        let inode = self.inode;
        self.directory.call(Kind::StatFile, Of::File(inode), |state, _| Ok(state.file_stat(inode)))
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (inode, offset) = (self.inode, &mut self.offset);
        self.directory.call(Kind::Read, Of::File(inode), |state, most| {
            let bytes = state.disk.inodes[&inode].visible.bytes();
            let rest = &bytes[(*offset).min(bytes.len())..];
            let len = rest.len().min(out.len()).min(most);
            out[..len].copy_from_slice(&rest[..len]);
            *offset += len;
            Ok(len)
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inode = self.inode;
        self.directory.call(Kind::Write, Of::File(inode), |state, most| {
            let len = bytes.len().min(most);
            let mut content = state.disk.inodes[&inode].visible.bytes().to_vec();
            content.extend_from_slice(&bytes[..len]);
            state.overwrite(inode, content);
            Ok(len)
        })
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let range = (offset, out.len());
        self.directory.call(Kind::ReadAt, Of::Range(self.inode, range), |state, most| {
            let bytes = state.disk.inodes[&self.inode].visible.bytes();
            let rest = &bytes[(offset as usize).min(bytes.len())..];
            let len = rest.len().min(out.len()).min(most);
            out[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let range = (offset, bytes.len());
        self.directory.call(Kind::WriteAt, Of::Range(self.inode, range), |state, most| {
            let (len, offset) = (bytes.len().min(most), offset as usize);
            let mut content = state.disk.inodes[&self.inode].visible.bytes().to_vec();
            content[offset..][..len].copy_from_slice(&bytes[..len]);
            state.overwrite(self.inode, content);
            Ok(len)
        })
    }

    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let inode = self.inode;
        self.directory.call(Kind::SetOwner, Of::File(inode), |state, _| {
            let file = state.disk.inodes.get_mut(&inode).unwrap();
            (file.uid, file.gid) = (uid, gid);
            state.touch(inode);
            Ok(())
        })
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let inode = self.inode;
        self.directory.call(Kind::SetMode, Of::File(inode), |state, _| {
            state.disk.inodes.get_mut(&inode).unwrap().mode = mode;
            state.touch(inode);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let inode = self.inode;
        self.directory.call(Kind::SyncFile, Of::File(inode), |state, _| {
            if state.is_effective_sync(Some(inode)) {
                state.disk.sync_file(inode);
            }
            Ok(())
        })
    }

    fn link_new(&self, to: &OsStr) -> io::Result<()> {
        let inode = self.inode;
        self.directory.call(Kind::Link, Of::Name(to), |state, _| state.link(inode, to))
    }

    fn try_lock(&self) -> io::Result<()> {
        let (inode, id) = (self.inode, self.id);
        self.directory.call(Kind::TryLock, Of::File(inode), |state, _| {
            Lacks::refuses(state.lacks.locks, ENOSYS)?;
            match *state.locks.entry(inode).or_insert(id) == id {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(EAGAIN)),
            }
        })
    }

    fn unlock(&self) -> io::Result<()> {
        let (inode, id) = (self.inode, self.id);
        self.directory.call(Kind::Unlock, Of::File(inode), |state, _| {
            if state.locks.get(&inode) == Some(&id) {
                state.locks.remove(&inode);
                state.released();
            }
            Ok(())
        })
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.directory.state();
        state.open.remove(&self.id);
        state.holders.remove(&self.id);
        let locks = state.locks.len();
        state.locks.retain(|_, holder| *holder != self.id);
        if state.locks.len() < locks {
            state.released();
        }
    }
}
