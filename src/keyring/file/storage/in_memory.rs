//! The bytes of a key file that is no file: a directory in memory with one file in it.

use crate::fs::{Directory, DirectoryFile, FileKind, FileStat, FileTime};
use crate::sync::lock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use zeroize::Zeroizing;

/// The name by which errors call it.
pub(crate) const NAME: &str = "key file in memory";

/// A directory with one file, which can be read and exchanged as a whole.
pub(crate) struct BytesDirectory(Mutex<BytesFile>);

/// One content of the file. Under no protection it is key material.
#[derive(Clone)]
struct BytesFile {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    /// Another one for each content.
    number: u64,
    offset: usize,
}

impl BytesFile {
    fn become_next(&mut self, bytes: &[u8]) {
        let number = self.number.saturating_add(1);
        *self = BytesFile { bytes: Arc::new(Zeroizing::new(bytes.to_vec())), number, offset: 0 };
    }
}

impl BytesDirectory {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let bytes = Arc::new(Zeroizing::new(bytes.to_vec()));
        BytesDirectory(Mutex::new(BytesFile { bytes, number: 1, offset: 0 }))
    }

    /// Takes `bytes` if they are `accepted`.
    pub(crate) fn replace<E>(
        &self,
        bytes: &[u8],
        accepted: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = lock(&self.0);
        accepted()?;
        file.become_next(bytes);
        Ok(())
    }

    /// Takes `bytes`.
    pub(crate) fn put(&self, bytes: &[u8]) {
        lock(&self.0).become_next(bytes);
    }
}

impl Directory for BytesDirectory {
    fn path(&self) -> &Path {
        Path::new("")
    }

    fn effective_uid(&self) -> u32 {
        0
    }

    fn open(&self, _: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        Ok(Box::new(lock(&self.0).clone()))
    }

    fn open_write(&self, _: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        Err(read_only())
    }

    fn create_new(&self, _: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        Err(read_only())
    }

    fn open_lock(&self, _: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        Err(read_only())
    }

    fn stat(&self, _: &OsStr) -> io::Result<FileStat> {
        lock(&self.0).stat()
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        Ok(Vec::from([NAME.into()]))
    }

    fn rename(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(read_only())
    }

    fn rename_new(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(read_only())
    }

    fn unlink(&self, _: &OsStr) -> io::Result<()> {
        Err(read_only())
    }

    fn check_writable(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DirectoryFile for BytesFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(FileStat {
            kind: FileKind::Regular,
            mode: 0o600,
            uid: 0,
            gid: 0,
            links: 1,
            len: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
            device: 0,
            inode: self.number,
            modified: FileTime::default(),
            changed: FileTime::default(),
        })
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(out, u64::try_from(self.offset).unwrap_or(u64::MAX))?;
        self.offset = self.offset.saturating_add(read);
        Ok(read)
    }

    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(read_only())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let len = rest.len().min(out.len());
        if let (Some(out), Some(rest)) = (out.get_mut(..len), rest.get(..len)) {
            out.copy_from_slice(rest);
        }
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn set_owner(&self, _: u32, _: u32) -> io::Result<()> {
        Err(read_only())
    }

    fn set_mode(&self, _: u32) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}
