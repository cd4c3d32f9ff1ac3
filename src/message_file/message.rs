//! A message in a file, read as it is meant, whatever a crash or a rewrap under way has left.

use super::bytes::read_header;
use super::error::{MessageFileError, open_refused, refused};
use super::journal::{Found, Journal, Verdict};
use super::paths::MessagePaths;
use crate::error::Error;
use crate::format::Header;
use crate::fs::{DirectoryFile, FileAction, FileId, FileKind, FileStat};
use crate::io::ReadAt;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How often a header that changes under the reader is read before the reader gives up.
const ATTEMPTS: usize = 16;

/// A message in a file, open for reading.
///
/// Reads like the file itself, with one difference: if a power failure cut off a
/// [rewrap in place](crate::Envelope::rewrap_file), the header comes from the journal that the
/// rewrap had written beside the file. Nothing is written for that, so it works on a medium that
/// is mounted for reading. A rewrap at the same time, in place or by a copy, does no harm: the
/// header is the old one or the new one, and the body is that of either.
///
/// Whoever reads the file in another way reads a message like any other; only in the moment of a
/// rewrap, or after a power failure in it, may its header be torn.
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

fn is_link(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::NotRegular { kind: FileKind::Symlink, .. }))
}

fn is_missing(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::NotFound { .. }))
}

impl MessageFile {
    /// Opens the message at `path`, and follows links.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] with what the system or the journal is in the way of; what is wrong
    /// with the header, as [`inspect`](crate::inspect) says it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let given = path.as_ref();
        let mut path = given.to_path_buf();
        for _ in 0..ATTEMPTS {
            match MessagePaths::to_read(&path)
                .map_err(Error::from)
                .and_then(|place| MessageFile::at(&place))
            {
                // A journal stands beside the file itself, so the link is followed to there.
                Err(error) if is_link(&error) => {
                    path = std::fs::canonicalize(given).map_err(open_refused(given))?;
                }
                // It leads elsewhere by now.
                Err(error) if path != given && is_missing(&error) => path = given.to_path_buf(),
                opened => {
                    return opened.map(|file| MessageFile { path: given.to_path_buf(), ..file });
                }
            }
        }
        Err(MessageFileError::Changed { path: given.to_path_buf() }.into())
    }

    pub(crate) fn at(place: &MessagePaths) -> Result<Self, Error> {
        let (file, stat) = place.open()?;
        for _ in 0..ATTEMPTS {
            if let Some(headers) = Headers::read(place, &*file, &stat)? {
                Header::parse(&headers.current)?;
                let path = place.message.path.clone();
                return Ok(MessageFile { file, path, stat, headers, position: 0 });
            }
        }
        Err(MessageFileError::Changed { path: place.message.path.clone() }.into())
    }

    /// The header's bytes, padding included: what [`inspect`](crate::inspect) takes, and a
    /// decryption of header and body apart.
    pub fn header(&self) -> &[u8] {
        &self.headers.current
    }

    /// The length of the message in bytes, header included.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> u64 {
        self.stat.len
    }

    /// Which file it is.
    pub(super) fn id(&self) -> FileId {
        self.stat.id()
    }

    /// Whether the file's own header is torn, so that this one is the journal's.
    pub fn is_torn(&self) -> bool {
        self.headers.before.is_some()
    }

    /// The header from before the rewrap that was cut off, if the file's own is torn.
    ///
    /// As long as [`header`](Self::header), and of the same message: the body behind either is the
    /// same. The message opens with the one or the other, and only a keyring tells which, where the
    /// version that the rewrap went to is not known, or was disabled, since: then
    /// [`decrypt_detached`](crate::Envelope::decrypt_detached) takes this one with the body, and for a
    /// reader a copy of it is chained with the file, which is sought to `header().len()` before.
    /// [`decrypt_file`](crate::Envelope::decrypt_file) and
    /// [`rewrap_file`](crate::Envelope::rewrap_file) choose by themselves.
    pub fn former_header(&self) -> Option<&[u8]> {
        self.headers.before.as_deref()
    }

    /// The path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads up to `out.len()` bytes of the message from `offset` on; 0 at its end. Where
    /// [`Read`] goes on stays as it is.
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

    /// Takes the header from before the rewrap that was cut off; whether there is one.
    pub(super) fn step_back(&mut self) -> bool {
        match self.headers.before.take() {
            Some(before) => {
                self.headers.current = before;
                true
            }
            None => false,
        }
    }
}

impl Headers {
    /// `None` if the header changed while it was read.
    fn read(
        place: &MessagePaths,
        file: &dyn DirectoryFile,
        stat: &FileStat,
    ) -> Result<Option<Self>, MessageFileError> {
        let read = || read_header(file).map_err(refused(FileAction::Read, &place.message.path));
        let header = read()?;
        let journal = match place.read_journal(stat) {
            Ok(Found::Journal(journal)) => Some(journal),
            Ok(Found::Nothing | Found::Invalid) | Err(MessageFileError::ForeignJournal { .. }) => {
                None
            }
            // It is given the mode of the message only after it came to be.
            Err(MessageFileError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        match journal.map(|journal| (journal.verdict(&header), journal)) {
            Some((Verdict::Torn, Journal { old, new })) => {
                Ok(Some(Headers { current: new, before: Some(old) }))
            }
            Some((Verdict::Old | Verdict::New, _)) => {
                Ok(Some(Headers { current: header, before: None }))
            }
            // A journal that would have told of this header can have gone a moment ago, with the
            // write that tore it.
            Some((Verdict::Other, _)) | None => {
                let is_settled = read()? == header;
                Ok(is_settled.then_some(Headers { current: header, before: None }))
            }
        }
    }
}

impl Read for MessageFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(out, self.position)?;
        self.position = self.position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
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
