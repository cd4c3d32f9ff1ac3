//! Functions that break the security of a message if they are misused (feature `hazmat`).
//!
//! They are for test vectors, fuzzers, and programs that open a body with a raw data key. An application
//! needs none of them.

pub use crate::body::{ChunkDecryptor, ChunkEncryptor};

use crate::body::{self, ForkGuard};
use crate::crypto::kdf;
use crate::crypto::provider::Provider;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::Suite;
use crate::format::layout;
use crate::stream::{RangeDecryptor, StreamDecryptor, StreamEncryptor};
use alloc::vec;
use alloc::vec::Vec;

/// Returns an encryptor of one body under `input_key`, chunk by chunk.
///
/// # Security
///
/// A salt must never be used twice under one key, and every chunk must be encrypted once: see
/// [`ChunkEncryptor`]. `context` is the immutable core of a message, then the associated data.
///
/// # Errors
///
/// [`Error::KeyLength`] if the key has another length than the suite's.
pub fn chunk_encryptor(
    suite: Suite,
    input_key: &[u8],
    salt: &[u8; layout::SALT_LEN],
    context: &[u8],
) -> Result<ChunkEncryptor, Error> {
    chunk_encryptor_with_provider(Provider::default(), suite, input_key, salt, context)
}

/// [`chunk_encryptor`] with the AEADs of `provider`, to compare providers.
///
/// # Security
///
/// A salt must never serve twice under one key, and every chunk must be encrypted once.
///
/// # Errors
///
/// [`Error::KeyLength`] if the key has another length than the suite's.
pub fn chunk_encryptor_with_provider(
    provider: Provider,
    suite: Suite,
    input_key: &[u8],
    salt: &[u8; layout::SALT_LEN],
    context: &[u8],
) -> Result<ChunkEncryptor, Error> {
    let fork_guard = ForkGuard::new();
    let mut key = DataKey::empty();
    fill(&mut key, suite, input_key)?;
    ChunkEncryptor::new(provider, suite, &key, salt, [context, &[]], Some(fork_guard))
}

/// Returns a decryptor of one body under `input_key`, chunk by chunk. `prefix` is the body's
/// first 56 bytes, whose commitment is verified.
///
/// # Security
///
/// Each chunk is authentic by itself. The message is complete only if its last chunk, shorter than 16,384
/// bytes, was verified at the index that the length of the body implies.
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::Authentication`] if the commitment does not verify.
pub fn chunk_decryptor(
    suite: Suite,
    input_key: &[u8],
    prefix: &[u8; layout::PREFIX_LEN],
    context: &[u8],
) -> Result<ChunkDecryptor, Error> {
    chunk_decryptor_with_provider(Provider::default(), suite, input_key, prefix, context)
}

/// [`chunk_decryptor`] with the AEADs of `provider`, to compare providers.
///
/// # Security
///
/// Each chunk is authentic by itself: see [`chunk_decryptor`].
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::Authentication`] if the commitment does not verify.
pub fn chunk_decryptor_with_provider(
    provider: Provider,
    suite: Suite,
    input_key: &[u8],
    prefix: &[u8; layout::PREFIX_LEN],
    context: &[u8],
) -> Result<ChunkDecryptor, Error> {
    let mut key = DataKey::empty();
    fill(&mut key, suite, input_key)?;
    ChunkDecryptor::new(provider, suite, &key, prefix, [context, &[]])
}

/// Encrypts a whole body under an explicit key and salt.
///
/// # Security
///
/// A salt must never be used twice under one key.
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::MessageTooLong`].
pub fn encrypt_body(
    suite: Suite,
    input_key: &[u8],
    salt: &[u8; layout::SALT_LEN],
    context: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let encryptor = chunk_encryptor(suite, input_key, salt, context)?;
    let mut encrypted = vec![0; crate::body_len(plaintext.len())?];
    encryptor.check_process()?;
    body::encrypt_body(&encryptor, plaintext, &mut encrypted, None)?;
    Ok(encrypted)
}

/// Decrypts a whole body under an explicit data key: any message of
/// <https://c2sp.org/chunked-encryption> of the suite.
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::Truncated`]; [`Error::MessageTooLong`];
/// [`Error::Authentication`].
pub fn decrypt_body(
    suite: Suite,
    input_key: &[u8],
    context: &[u8],
    encrypted: &[u8],
) -> Result<Vec<u8>, Error> {
    let len = layout::plaintext_len(encrypted.len() as u64)?;
    let len = usize::try_from(len).map_err(|_| Error::MessageTooLong)?;
    let prefix = encrypted.first_chunk().ok_or(Error::BODY_START)?;
    let decryptor = chunk_decryptor(suite, input_key, prefix, context)?;
    let mut plaintext = vec![0; len];
    body::decrypt_body(&decryptor, encrypted, &mut plaintext, None)?;
    Ok(plaintext)
}

/// Encrypts one body piece by piece under `input_key`: its 56-byte prefix, then its chunks.
///
/// # Security
///
/// A salt must never be used twice under one key.
///
/// # Errors
///
/// [`Error::KeyLength`].
pub fn stream_encryptor(
    suite: Suite,
    input_key: &[u8],
    salt: &[u8; layout::SALT_LEN],
    context: &[u8],
) -> Result<StreamEncryptor<'static>, Error> {
    let encryptor = chunk_encryptor(suite, input_key, salt, context)?;
    let start = encryptor.prefix().to_vec();
    Ok(StreamEncryptor::new(encryptor, start, None, None))
}

/// Decrypts one body piece by piece under `input_key`. `prefix` is its first 56 bytes, and the stream takes
/// the bytes after them.
///
/// # Security
///
/// The output is authentic, and complete only after [`finish`](StreamDecryptor::finish) has returned 0.
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::Authentication`] if the commitment does not verify.
pub fn stream_decryptor(
    suite: Suite,
    input_key: &[u8],
    prefix: &[u8; layout::PREFIX_LEN],
    context: &[u8],
) -> Result<StreamDecryptor, Error> {
    Ok(StreamDecryptor::new(chunk_decryptor(suite, input_key, prefix, context)?, None))
}

/// Decrypts any part of one body of `body_len` bytes under `input_key`; its first 56 bytes are
/// `prefix`. Offsets of plans are those of the body.
///
/// # Security
///
/// `body_len` is unverified until a plan that proves it was decrypted: see [`RangeDecryptor`].
///
/// # Errors
///
/// [`Error::KeyLength`]; [`Error::Authentication`]; [`Error::Truncated`] and [`Error::MessageTooLong`] if no body has this
/// length.
pub fn range_decryptor(
    suite: Suite,
    input_key: &[u8],
    prefix: &[u8; layout::PREFIX_LEN],
    context: &[u8],
    body_len: u64,
) -> Result<RangeDecryptor, Error> {
    layout::plaintext_len(body_len)?;
    let decryptor = chunk_decryptor(suite, input_key, prefix, context)?;
    RangeDecryptor::new(decryptor, None, 0, body_len)
}

/// HKDF-Expand with the hash of `suite` (RFC 5869, section 2.3) into `okm`; `key` may be shorter
/// than the hash.
///
/// # Errors
///
/// [`Error::KeyLength`] if `okm` is longer than 255 hashes.
pub fn hkdf_expand(suite: Suite, key: &[u8], info: &[u8], okm: &mut [u8]) -> Result<(), Error> {
    let (len, needed) = (okm.len(), suite.hash().max_expand_len());
    kdf::expand(suite.hash(), key, &[info], okm).map_err(|_| Error::KeyLength { len, needed })
}

/// Copies a key of at most 32 bytes to its place; the cipher asks for its length.
fn fill(key: &mut DataKey, suite: Suite, bytes: &[u8]) -> Result<(), Error> {
    let (len, needed) = (bytes.len(), suite.data_key_len());
    if key.set(bytes) { Ok(()) } else { Err(Error::KeyLength { len, needed }) }
}
