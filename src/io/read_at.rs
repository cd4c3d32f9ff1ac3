//! Bytes that can be read anywhere.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

/// Bytes that can be read at any offset, without a position: a file, a slice, an object in a store.
/// From several threads, if it is `Sync`.
///
/// `std::fs::File` is one on Unix and Windows; [`SeekSource`] makes one of whatever can be sought in.
pub trait ReadAt {
    /// Reads up to `out.len()` bytes that stand at `offset`; 0 at the end, or for an empty `out`.
    ///
    /// # Errors
    ///
    /// Those of the source; `Interrupted` is tried again.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// How many bytes there are. Nobody relies on it before the end of the message was verified.
    ///
    /// # Errors
    ///
    /// Those of the source.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // Beyond the end there is nothing.
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

/// Something that is read and sought in, as [`ReadAt`]. Its own position is moved about.
pub struct SeekSource<S> {
    source: Mutex<S>,
}

impl<S: Read + Seek> SeekSource<S> {
    /// Reads `source` from its first byte on, wherever it stands.
    pub fn new(source: S) -> Self {
        SeekSource { source: Mutex::new(source) }
    }

    /// The source, at any position.
    pub fn into_inner(self) -> S {
        self.source.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<S: Read + Seek> ReadAt for SeekSource<S> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        // Where a holder that panicked left the position does not matter.
        let mut source = crate::sync::lock(&self.source);
        source.seek(SeekFrom::Start(offset))?;
        source.read(out)
    }

    fn size(&self) -> io::Result<u64> {
        crate::sync::lock(&self.source).seek(SeekFrom::End(0))
    }
}

impl<S> fmt::Debug for SeekSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekSource").finish_non_exhaustive()
    }
}
