//! Messages in the files of a simulated directory.

pub use crate::message_file::{FileRewrap, MessageFile, MessageFileError, NewFileOptions};

use super::key_file::Directory;
use crate::aad::Aad;
use crate::envelope::{Envelope, RewrapOptions};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::message_file::paths::MessagePaths;
use crate::message_file::transcode::Target;
use crate::message_file::{reencrypt, rewrap, transcode};
use crate::random::RandomSource;
use alloc::sync::Arc;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

/// See [`rewrap`](crate::file::rewrap).
///
/// # Errors
///
/// Those of the function.
pub fn rewrap_file_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    directory: Arc<dyn Directory>,
    name: &OsStr,
    options: RewrapOptions<'_>,
) -> Result<FileRewrap, Error> {
    rewrap::rewrap_file(envelope, &paths(directory, name)?, options)
}

/// See [`reencrypt`](crate::file::reencrypt).
///
/// # Errors
///
/// Those of the function.
pub fn reencrypt_file_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    directory: Arc<dyn Directory>,
    name: &OsStr,
    old: &[u8],
    aad: Aad<'_>,
) -> Result<bool, Error> {
    let new = envelope.stream_encryptor(aad)?;
    reencrypt::reencrypt_file(envelope, &paths(directory, name)?, old, new, aad)
}

/// See [`MessageFile::open`].
///
/// # Errors
///
/// Those of the function.
pub fn open_in(directory: Arc<dyn Directory>, name: &OsStr) -> Result<MessageFile, Error> {
    MessageFile::at(&paths(directory, name)?)
}

/// See [`encrypt`](crate::file::encrypt).
///
/// # Errors
///
/// Those of the function.
pub fn encrypt_file_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    directory: Arc<dyn Directory>,
    to: &OsStr,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    encrypt_file_with_in(envelope, source, directory, to, aad, NewFileOptions::new())
}

/// See [`encrypt`](crate::file::encrypt).
///
/// # Errors
///
/// Those of the function.
pub fn encrypt_file_with_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    directory: Arc<dyn Directory>,
    to: &OsStr,
    aad: Aad<'_>,
    options: NewFileOptions,
) -> Result<u64, Error> {
    let paths = &paths(directory, to)?;
    let name = Some(Path::new("source"));
    transcode::encrypt(envelope, source, name, &Target { paths, options }, aad)
}

/// See [`decrypt`](crate::file::decrypt).
///
/// # Errors
///
/// Those of the function.
pub fn decrypt_file_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    directory: &Arc<dyn Directory>,
    from: &OsStr,
    to: &OsStr,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let to = &Target { paths: &paths(directory.clone(), to)?, options: NewFileOptions::new() };
    transcode::decrypt(envelope, open_in(directory.clone(), from)?, to, aad)
}

/// See [`decrypt_from`](crate::file::decrypt_from).
///
/// # Errors
///
/// Those of the function.
pub fn decrypt_from_in<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    directory: Arc<dyn Directory>,
    to: &OsStr,
    aad: Aad<'_>,
) -> Result<u64, Error> {
    let to = &Target { paths: &paths(directory, to)?, options: NewFileOptions::new() };
    transcode::decrypt_from(envelope, source, to, aad)
}

fn paths(directory: Arc<dyn Directory>, name: &OsStr) -> Result<MessagePaths, MessageFileError> {
    Ok(MessagePaths::in_directory(directory, name)?)
}
