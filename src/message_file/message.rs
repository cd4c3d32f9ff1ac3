//! A message in a file, read correctly during a rewrap and after one that was cut off.

use super::error::MessageFileError;
use super::journal::{HeaderState, Journal, JournalFile};
use super::paths::MessagePaths;
use crate::error::Error;
use crate::format::Header;
use crate::fs::{
    DirectoryFile, FileAction, FileError, FileId, FileKind, FileStat, failed, open_failed, read_at,
};
use crate::io::ReadAt;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a header up to its length field, inclusive.
const LEN_END: usize = 24;

/// How often a header is read again that changes during the read.
const ATTEMPTS: usize = 16;

/// A message in a file, open for reading.
///
/// It reads as the file itself does, with one difference: if a power failure cut off a
/// [rewrap in place](crate::file::rewrap), the header comes from the journal beside the
/// file. Nothing is written for that, so it works on a medium that is mounted for reading. During a
/// rewrap, in place or by a copy, the header is the old one or the new one; both have the same body.
///
/// The file can be read in any other way, too; but during a rewrap, or after a power failure in it,
/// its header may be torn.
///
/// **Unverified**: only a decryption proves what is read.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, inspect, file::MessageFile};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// # let path = std::env::temp_dir().join(format!("envelock-doc-{}.message", std::process::id()));
/// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
/// let message = MessageFile::open(&path)?;
/// assert_eq!(inspect(message.header())?.slots().len(), 1);
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct MessageFile {
    file: Box<dyn DirectoryFile>,
    path: PathBuf,
    stat: FileStat,
    headers: Headers,
    position: u64,
}

struct Headers {
    current: Vec<u8>,
    /// The one before the rewrap that was cut off.
    before: Option<Vec<u8>>,
}

impl MessageFile {
    /// Opens the message at `path`, and follows links.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the file or its journal cannot be read; the errors of
    /// [`inspect`](crate::inspect) for the header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let given = path.as_ref();
        let mut path = given.to_path_buf();
        for _ in 0..ATTEMPTS {
            let read = MessagePaths::to_read(&path)
                .map_err(MessageFileError::from)
                .and_then(|paths| MessageFile::read_at_paths(&paths));
            match read {
                // A journal stands beside the file itself, so the link is followed first.
                Err(MessageFileError::File(FileError::NotRegular {
                    kind: FileKind::Symlink,
                    ..
                })) => {
                    path = std::fs::canonicalize(given)
                        .map_err(open_failed(FileAction::Open, given))
                        .map_err(MessageFileError::from)?;
                }
                // The link leads to another file by now.
                Err(MessageFileError::File(FileError::NotFound { .. })) if path != given => {
                    path = given.to_path_buf();
                }
                read => {
                    let file = read?.checked()?;
                    return Ok(MessageFile { path: given.to_path_buf(), ..file });
                }
            }
        }
        Err(changed(given).into())
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn at(paths: &MessagePaths) -> Result<Self, Error> {
        MessageFile::read_at_paths(paths)?.checked()
    }

    fn read_at_paths(paths: &MessagePaths) -> Result<Self, MessageFileError> {
        let (file, stat) = paths.open()?;
        let path = paths.message.path.clone();
        for _ in 0..ATTEMPTS {
            if let Some(headers) = Headers::read(paths, &*file, &stat)? {
                return Ok(MessageFile { file, path, stat, headers, position: 0 });
            }
        }
        Err(changed(&path))
    }

    /// Refuses what is not a message.
    fn checked(self) -> Result<Self, Error> {
        Header::parse(&self.headers.current)?;
        Ok(self)
    }

    /// Returns the bytes of the header, padding included, for [`inspect`](crate::inspect) and for a decryption of
    /// header and body apart.
    pub fn header(&self) -> &[u8] {
        &self.headers.current
    }

    /// Returns the length of the message in bytes, header included.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> u64 {
        self.stat.len
    }

    /// Device and inode number.
    pub(super) fn id(&self) -> FileId {
        self.stat.id()
    }

    /// Reports whether the header of the file is torn, so that [`header`](Self::header) comes from the
    /// journal.
    pub fn is_torn(&self) -> bool {
        self.headers.before.is_some()
    }

    /// Returns the header from before the rewrap that was cut off, if the file's own is torn.
    ///
    /// It is as long as [`header`](Self::header) and has the same body. The message opens with one of the
    /// two. Which one depends on the keyring: the version of the new header may be unknown to it, or
    /// disabled since. Then [`Envelope::open`](crate::Envelope::open) takes this one, and the
    /// [`OpenedKey`](crate::OpenedKey) the body, which begins at `header().len()`.
    /// [`decrypt`](crate::file::decrypt) and
    /// [`rewrap`](crate::file::rewrap) choose by themselves.
    pub fn former_header(&self) -> Option<&[u8]> {
        self.headers.before.as_deref()
    }

    /// Returns the path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads up to `out.len()` bytes of the message from `offset` on; 0 at its end. The position of
    /// [`Read`] stays as it is.
    ///
    /// # Errors
    ///
    /// Those of `pread`.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let header = usize::try_from(offset).ok().and_then(|offset| self.header().get(offset..));
        match header {
            Some(rest) if !rest.is_empty() => {
                let len = rest.len().min(out.len());
                for (out, byte) in out.iter_mut().zip(rest) {
                    *out = *byte;
                }
                Ok(len)
            }
            _ => self.file.read_at(out, offset),
        }
    }

    /// Reads on with the header from before the rewrap that was cut off, if there is one.
    pub(super) fn use_former_header(&mut self) {
        if let Some(before) = self.headers.before.take() {
            self.headers.current = before;
        }
    }
}

fn changed(path: &Path) -> MessageFileError {
    FileError::Changed { path: path.to_path_buf() }.into()
}

/// Reads the header and not a byte of the body; less where the file ends early.
pub(super) fn read_header(file: &dyn DirectoryFile) -> io::Result<Vec<u8>> {
    let mut header = alloc::vec![0; LEN_END];
    let filled = read_at(file, &mut header, 0)?;
    header.truncate(filled);
    if let Some(&[.., high, low]) = header.first_chunk::<LEN_END>() {
        header.resize(usize::from(u16::from_be_bytes([high, low])).max(LEN_END), 0);
        if let Some((_, rest)) = header.split_at_mut_checked(LEN_END) {
            let filled = read_at(file, rest, LEN_END as u64)?;
            // Saturates: both are lengths within `header`.
            header.truncate(LEN_END.saturating_add(filled));
        }
    }
    Ok(header)
}

impl Headers {
    /// Returns `None` if the header changed while it was read.
    fn read(
        paths: &MessagePaths,
        file: &dyn DirectoryFile,
        stat: &FileStat,
    ) -> Result<Option<Self>, MessageFileError> {
        let read = || read_header(file).map_err(failed(FileAction::Read, &paths.message.path));
        let header = read()?;
        let journal = match Journal::read(paths, stat) {
            Ok(JournalFile::Valid(journal)) => Some(journal),
            Ok(JournalFile::Missing | JournalFile::Invalid)
            | Err(MessageFileError::ForeignJournal { .. }) => None,
            // It gets the mode of the message only after its creation.
            Err(MessageFileError::File(FileError::Io { source, .. }))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        match journal.map(|journal| (journal.state_of(&header), journal)) {
            Some((HeaderState::Torn, Journal { old, new })) => {
                Ok(Some(Headers { current: new, before: Some(old) }))
            }
            Some((HeaderState::Old | HeaderState::New, _)) => {
                Ok(Some(Headers { current: header, before: None }))
            }
            // A journal of this header can have been removed after the write that tore it.
            Some((HeaderState::Other, _)) | None => {
                let is_settled = read()? == header;
                Ok(is_settled.then_some(Headers { current: header, before: None }))
            }
        }
    }
}

impl Read for MessageFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(out, self.position)?;
        // Saturates: a file ends before that.
        self.position = self.position.saturating_add(read as u64);
        Ok(read)
    }
}

impl ReadAt for MessageFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        MessageFile::read_at(self, out, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.stat.len)
    }
}

impl Seek for MessageFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.stat.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl fmt::Debug for MessageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageFile")
            .field("path", &self.path)
            .field("len", &self.stat.len)
            .field("header_len", &self.header().len())
            .field("is_torn", &self.is_torn())
            .finish_non_exhaustive()
    }
}
