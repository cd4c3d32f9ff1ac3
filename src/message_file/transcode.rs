//! Files that are encrypted or decrypted as a whole, and appear once they are.

use super::error::{MessageFileError, open_refused, refused};
use super::message::MessageFile;
use super::options::NewFileOptions;
use super::paths::MessagePaths;
use super::temp_file::TempFile;
use crate::aad::Aad;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::fs::{FileAction, FileKind, FileStat};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// How much goes from the one file to the other at once: whole pages, which a write in two parts
/// would cut.
const BUFFER_LEN: usize = 256 * 1024;

/// Encrypts the file at `from`, whatever kind it is of, by links too.
pub(crate) fn encrypt_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: &Path,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let unread = |action| move |error| refused(action, from)(error);
    let source = std::fs::File::open(from).map_err(open_refused(from))?;
    // By what it is, and by what its name stands for, which can be a link.
    let opened = source.metadata().map_err(unread(FileAction::Inspect))?;
    let named = from.symlink_metadata().map_err(unread(FileAction::Inspect))?;
    to.place.check_apart(&[(opened.dev(), opened.ino()), (named.dev(), named.ino())])?;
    encrypt(envelope, source, from, to, aad)
}

/// Encrypts what `source` holds, which is at `path`.
pub(crate) fn encrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    path: &Path,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    write(to, path, || envelope.encrypt_reader(source, aad))
}

/// Decrypts the message at `from`, by links too, and whatever kind of file can be read in order.
pub(crate) fn decrypt_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: &Path,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let kind = std::fs::metadata(from).map_err(open_refused(from))?.file_type();
    if kind.is_file() || kind.is_dir() {
        match MessageFile::open(from) {
            // A file without a name, by the path of its descriptor.
            Err(error) if matches!(error.backend(), Some(MessageFileError::NotFound { .. })) => {}
            message => return decrypt(envelope, message?, to, aad),
        }
    }
    let source = std::fs::File::open(from).map_err(open_refused(from))?;
    write(to, from, || envelope.decrypt_reader(source, aad))
}

/// Decrypts a message that is open.
pub(crate) fn decrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    mut message: MessageFile,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    to.place.check_apart(&[message.id()])?;
    // Whose slots are torn opens by what it was before, where this keyring does not know yet what
    // it was to become.
    if message.is_torn() && envelope.check_opens(message.header()).is_err() {
        message.step_back();
    }
    let path = message.path().to_path_buf();
    write(to, &path, || envelope.decrypt_reader(message, aad))
}

/// A file that is to be written.
pub(crate) struct Target<'a> {
    pub(crate) place: &'a MessagePaths,
    pub(crate) options: NewFileOptions,
}

impl Target<'_> {
    /// Refuses before anything is read what would be refused at the end.
    fn check(&self) -> Result<(), MessageFileError> {
        self.place.check_not_ours()?;
        let path = &self.place.message.path;
        match self.place.stat(&self.place.message)? {
            Some(_) if !self.options.replaces => {
                Err(MessageFileError::Exists { path: path.clone() })
            }
            Some(FileStat { kind, .. }) if kind != FileKind::Regular => {
                Err(MessageFileError::NotRegular { path: path.clone(), kind })
            }
            _ => Ok(()),
        }
    }
}

/// Writes all that `open` gives to read to a file; answers its length.
fn write<R: Read>(
    to: &Target<'_>,
    from: &Path,
    open: impl FnOnce() -> Result<R, Error>,
) -> Result<u64, Error> {
    to.check()?;
    let read_from = |error| match error {
        Error::Io { source } => {
            MessageFileError::Io { action: FileAction::Read, path: from.to_path_buf(), source }
                .into()
        }
        error => error,
    };
    let mut reader = open().map_err(read_from)?;
    let mut file = TempFile::create(to.place)?;
    let mut buffer = Zeroizing::new(alloc::vec![0; BUFFER_LEN]);
    let mut len: u64 = 0;
    loop {
        let read = fill(&mut reader, &mut buffer).map_err(|error| read_from(error.into()))?;
        if read == 0 {
            break;
        }
        file.write(buffer.get(..read).unwrap_or_default())?;
        len = len.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    file.finish(to.options)?;
    Ok(len)
}

/// Reads until `out` is full, or the end; answers how much there was. The end is answered by the
/// reader only once it is verified.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            read => filled = filled.saturating_add(read),
        }
    }
    Ok(filled)
}
