//! Sources with random access.

use crate::sync::lock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

/// A source that can be read at any offset, without a position: a file, a slice, an object in a store.
///
/// `std::fs::File` implements it on Unix and Windows, [`Mutex`] for any source that reads and seeks. A
/// source that is `Sync` can be read by several threads at the same time.
pub trait ReadAt {
    /// Reads up to `out.len()` bytes at `offset` and returns their number: 0 at the end, or if `out` is
    /// empty.
    ///
    /// # Errors
    ///
    /// Those of the source. The caller repeats the call after `Interrupted`.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns the length in bytes. No reader relies on it before the end of the message is verified.
    ///
    /// # Errors
    ///
    /// Those of the source.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // No slice reaches `usize::MAX`: beyond the end there is nothing.
        self.get(offset..).unwrap_or(&[]).read(out)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(out, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

#[cfg(any(unix, windows))]
impl ReadAt for std::fs::File {
    #[cfg(unix)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, out, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, out, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
                (**self).read_at(out, offset)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);

/// A source that reads and seeks, locked for each read. Its own position moves.
impl<S: Read + Seek> ReadAt for Mutex<S> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        // After a panic the position may be anywhere, which does not matter.
        let mut source = lock(self);
        source.seek(SeekFrom::Start(offset))?;
        source.read(out)
    }

    fn size(&self) -> io::Result<u64> {
        lock(self).seek(SeekFrom::End(0))
    }
}
