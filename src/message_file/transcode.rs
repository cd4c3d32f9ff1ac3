//! Files that are encrypted or decrypted as a whole, and get their name when they are complete.

use super::error::MessageFileError;
use super::message::MessageFile;
use super::options::{NewFileOptions, OWNER_ONLY};
use super::paths::MessagePaths;
use crate::aad::Aad;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::fs::{
    FileAction, FileError, FileKind, FileStat, TempFile, copy_ownership, failed, fill,
    is_unsupported, open_failed, uninterrupted,
};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// How much goes from the one file to the other at once: whole pages, which a write in two parts
/// would cut.
const BUFFER_LEN: usize = 256 * 1024;

/// Encrypts the file at `from`, of any kind, through links too.
pub(crate) fn encrypt_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: &Path,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let source = open_source(from)?;
    let inspected = |stat: io::Result<Metadata>| {
        stat.map(|stat| (stat.dev(), stat.ino()))
            .map_err(failed(FileAction::Inspect, from))
            .map_err(MessageFileError::from)
    };
    // Of the file, and of its name, which can be a link.
    let sources = [inspected(source.metadata())?, inspected(from.symlink_metadata())?];
    to.paths.check_sources(&sources)?;
    encrypt(envelope, source, Some(from), to, aad)
}

/// Encrypts what `source` returns. Its errors name `path`, if it has one.
pub(crate) fn encrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    path: Option<&Path>,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    write(to, path, || envelope.encrypt_reader(source, aad))
}

/// Decrypts the message at `from`, of any kind that can be read in order, through links too.
pub(crate) fn decrypt_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: &Path,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let stat = std::fs::metadata(from).map_err(open_failed(FileAction::Open, from));
    let kind = stat.map_err(MessageFileError::from)?.file_type();
    if kind.is_file() || kind.is_dir() {
        match MessageFile::open(from) {
            // A file without a name, by the path of its descriptor.
            Err(error) if is_missing(&error) => {}
            message => return decrypt(envelope, message?, to, aad),
        }
    }
    let source = open_source(from)?;
    write(to, Some(from), || envelope.decrypt_reader(source, aad))
}

/// Decrypts the message that goes up to the end of `source`.
pub(crate) fn decrypt_from<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    write(to, None, || envelope.decrypt_reader(source, aad))
}

/// Decrypts an open message.
pub(crate) fn decrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    mut message: MessageFile,
    to: &Target<'_>,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    to.paths.check_sources(&[message.id()])?;
    // This keyring may not know the version that the new header needs yet.
    if message.is_torn() && envelope.check_opens(message.header()).is_err() {
        message.use_former_header();
    }
    let path = message.path().to_path_buf();
    write(to, Some(&path), || envelope.decrypt_reader(message, aad))
}

fn is_missing(error: &Error) -> bool {
    matches!(error.backend(), Some(MessageFileError::File(FileError::NotFound { .. })))
}

fn open_source(path: &Path) -> Result<File, MessageFileError> {
    Ok(File::open(path).map_err(open_failed(FileAction::Open, path))?)
}

/// A file that is to be written.
pub(crate) struct Target<'a> {
    pub(crate) paths: &'a MessagePaths,
    pub(crate) options: NewFileOptions,
}

impl Target<'_> {
    /// Refuses, before anything is read, what [`finish`](Self::finish) would refuse.
    fn check(&self) -> Result<(), FileError> {
        self.paths.check_name()?;
        let path = &self.paths.message.path;
        match self.paths.message.stat()? {
            Some(_) if !self.options.replaces => Err(FileError::Exists { path: path.clone() }),
            Some(FileStat { kind, .. }) if kind != FileKind::Regular => {
                Err(FileError::NotRegular { path: path.clone(), kind })
            }
            _ => Ok(()),
        }
    }

    /// Gives the complete `file` its mode and name, durably.
    fn finish(&self, mut file: TempFile<'_>) -> Result<(), FileError> {
        let NewFileOptions { replaces, mode } = self.options;
        loop {
            let replaced = if replaces { self.paths.lock_to_replace()? } else { None };
            match &replaced {
                Some(old) => copy_ownership(&*old.file, file.file(), file.path())?,
                None if mode != OWNER_ONLY => {
                    uninterrupted(|| file.file().set_mode(mode))
                        .map_err(failed(FileAction::SetOwner, file.path()))?;
                }
                None => {}
            }
            file.sync()?;
            let put = if replaced.is_some() { file.replace() } else { file.publish(false) };
            match put {
                // Another process created it just now.
                Err(FileError::Exists { .. }) if replaces && replaced.is_none() => continue,
                Err(FileError::Io { source, .. })
                    if replaces && replaced.is_none() && is_unsupported(&source) =>
                {
                    file.replace()?;
                }
                put => put?,
            }
            return self.paths.sync_names();
        }
    }
}

/// Writes what the reader of `open` returns to a file, and returns its length.
fn write<R: Read>(
    to: &Target<'_>,
    from: Option<&Path>,
    open: impl FnOnce() -> Result<R, Error>,
) -> Result<u64, Error> {
    to.check().map_err(MessageFileError::from)?;
    let reader = open().map_err(|error| read_from(from, error))?;
    let mut file = to.paths.new_file().map_err(MessageFileError::from)?;
    let len = copy(reader, from, |bytes| file.write(bytes))?;
    to.finish(file).map_err(MessageFileError::from)?;
    Ok(len)
}

/// Passes on what `reader` returns up to its end, and returns its length. Errors call its source `from`.
pub(super) fn copy(
    mut reader: impl Read,
    from: Option<&Path>,
    mut write: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<u64, Error> {
    let mut buffer = Zeroizing::new(alloc::vec![0; BUFFER_LEN]);
    let mut len: u64 = 0;
    loop {
        // The reader reports the end only once it is verified.
        let read = fill(&mut buffer, |rest, _| reader.read(rest));
        let read = read.map_err(|error| read_from(from, error.into()))?;
        if read == 0 {
            return Ok(len);
        }
        let bytes = buffer.get(..read).ok_or(io::ErrorKind::InvalidData);
        let bytes = bytes.map_err(|kind| read_from(from, io::Error::from(kind).into()))?;
        write(bytes).map_err(MessageFileError::from)?;
        // Saturates: no file is that long.
        len = len.saturating_add(read as u64);
    }
}

/// Names the file in an error of a reader, if it has a name.
pub(super) fn read_from(path: Option<&Path>, error: Error) -> Error {
    match (error, path) {
        (Error::Io { source }, Some(path)) => {
            let (action, path) = (FileAction::Read, path.to_path_buf());
            MessageFileError::File(FileError::Io { action, path, source }).into()
        }
        (error, _) => error,
    }
}
