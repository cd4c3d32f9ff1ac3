//! A new encryption of a message in a file: another data key, the body written again.
//!
//! The new message is written beside the old one, decrypted, synced, and renamed over it. A crash leaves one of
//! the two, whole.

use super::error::MessageFileError;
use super::paths::MessagePaths;
use super::rewrap::HeaderChange;
use super::transcode::{copy, read_from};
use crate::aad::Aad;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::format::Header;
use crate::fs::{DirectoryFile, uninterrupted};
use crate::io::EncryptReader;
use crate::keyring::Keyring;
use crate::random::RandomSource;
use crate::stream::StreamEncryptor;
use std::io::{self, Read};
use std::path::Path;

/// Replaces the message in a file by `new` with the same plaintext, if its header is still `old`. Returns
/// whether it was.
pub(crate) fn reencrypt_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    paths: &MessagePaths,
    old: &[u8],
    new: StreamEncryptor<'_>,
    aad: Aad<'_>,
) -> Result<bool, Error> {
    // A stream that has output something has other plaintext in it already.
    Header::parse_detached(new.header())?;
    let change = HeaderChange::begin(paths)?;
    let (header, _) = change.recover(envelope)?;
    change.require_one_name()?;
    if header != old {
        return Ok(false);
    }
    let path = &paths.message.path;
    let (mut file, before) = change.new_file().map_err(MessageFileError::from)?;
    let source = envelope
        .decrypt_reader(FromStart::of(&*change.message.file), aad)
        .map_err(|error| read_from(Some(path), error))?;
    copy(EncryptReader::from_stream(source, new), Some(path), |bytes| file.write(bytes))?;
    // Nothing brings the old message back, so the new one is decrypted before: from the cache, not from the
    // medium.
    verify(envelope, file.file(), file.path(), aad)?;
    change.put(file, old, &before).map_err(MessageFileError::from)?;
    Ok(true)
}

fn verify<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    file: &dyn DirectoryFile,
    path: &Path,
    aad: Aad<'_>,
) -> Result<(), Error> {
    let reader = envelope.decrypt_reader(FromStart::of(file), aad);
    copy(reader.map_err(|error| read_from(Some(path), error))?, Some(path), |_| Ok(())).map(drop)
}

/// Reads a file from its start, wherever it was written or read.
struct FromStart<'a> {
    file: &'a dyn DirectoryFile,
    at: u64,
}

impl<'a> FromStart<'a> {
    fn of(file: &'a dyn DirectoryFile) -> Self {
        FromStart { file, at: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = uninterrupted(|| self.file.read_at(out, self.at))?;
        // Saturates: a file ends before that.
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}
