//! A whole body in memory, chunk by chunk.

use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use super::layout::{self, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, TAG_LEN};
use super::run;
use crate::error::Error;
use crate::workers::Workers;
use core::ops::Range;
use zeroize::Zeroize;

/// Encrypts `plaintext` into `body`, which must have exactly the length of the body.
pub(crate) fn encrypt_into(
    encryptor: &ChunkEncryptor,
    plaintext: &[u8],
    body: &mut [u8],
    workers: Option<&dyn Workers>,
) -> Result<(), Error> {
    let needed = to_usize(layout::body_len(plaintext.len() as u64)?)?;
    let wrong_length = Error::BufferLength { len: body.len(), needed };
    if body.len() != needed {
        return Err(wrong_length);
    }
    let (prefix, encrypted) = body.split_first_chunk_mut().ok_or(wrong_length)?;
    *prefix = *encryptor.prefix();
    run::encrypt_into(encryptor, 0, plaintext, encrypted, workers)
}

/// Encrypts in place: the plaintext stands in `body` from byte 56 on, and `body` has exactly the
/// length of the body.
pub(crate) fn encrypt_in_place(encryptor: &ChunkEncryptor, body: &mut [u8]) -> Result<(), Error> {
    let len = layout::plaintext_len(body.len() as u64)?;
    // From the last chunk back, each moves behind the tags of those before it.
    for index in (0..layout::chunk_count(len)?).rev() {
        let (encrypted, plain) = chunk_ranges(index, body.len())?;
        // Encrypted first and moved then, while it is in the cache.
        let chunk = body.get_mut(plain.clone()).unwrap_or_default();
        let tag = encryptor.encrypt_in_place(index, chunk)?;
        if plain.start != encrypted.start {
            body.copy_within(plain, encrypted.start);
        }
        let encrypted = body.get_mut(encrypted).unwrap_or_default();
        let wrong_length = Error::Chunk { index, len: encrypted.len() };
        *encrypted.last_chunk_mut().ok_or(wrong_length)? = tag;
    }
    if let Some(prefix) = body.first_chunk_mut() {
        *prefix = *encryptor.prefix();
    }
    Ok(())
}

/// Decrypts `body` into `plaintext`, which must have exactly the plaintext's length. On failure
/// `plaintext` is wiped (SPEC B-RELEASE).
pub(crate) fn decrypt_into(
    decryptor: &ChunkDecryptor,
    body: &[u8],
    plaintext: &mut [u8],
    workers: Option<&dyn Workers>,
) -> Result<(), Error> {
    let needed = to_usize(layout::plaintext_len(body.len() as u64)?)?;
    if plaintext.len() != needed {
        return Err(Error::BufferLength { len: plaintext.len(), needed });
    }
    let encrypted = body.get(PREFIX_LEN..).unwrap_or_default();
    match run::decrypt_into(decryptor, 0, encrypted, plaintext, workers).failure {
        Some(error) => {
            plaintext.zeroize();
            Err(error)
        }
        None => Ok(()),
    }
}

/// Decrypts in place and returns where in `body` the plaintext stands: from byte 56 on. On
/// failure all of `body` is wiped.
pub(crate) fn decrypt_in_place(
    decryptor: &ChunkDecryptor,
    body: &mut [u8],
) -> Result<Range<usize>, Error> {
    let decrypted = decrypt_chunks_in_place(decryptor, body);
    if decrypted.is_err() {
        body.zeroize();
    }
    decrypted
}

fn decrypt_chunks_in_place(
    decryptor: &ChunkDecryptor,
    body: &mut [u8],
) -> Result<Range<usize>, Error> {
    let len = layout::plaintext_len(body.len() as u64)?;
    for index in 0..layout::chunk_count(len)? {
        let (encrypted, plain) = chunk_ranges(index, body.len())?;
        let start = encrypted.start;
        decryptor.decrypt_in_place(index, body.get_mut(encrypted).unwrap_or_default())?;
        if plain.start != start {
            let chunk = start..start.saturating_add(plain.len());
            body.copy_within(chunk, plain.start);
        }
    }
    let end = PREFIX_LEN.saturating_add(to_usize(len)?);
    // Chunks that moved left their last bytes behind.
    body.get_mut(end..).unwrap_or_default().zeroize();
    Ok(PREFIX_LEN..end)
}

/// Where chunk `index` stands in a body of this length: with its tag, and as plaintext that
/// starts at byte 56 and has no gaps.
fn chunk_ranges(index: u64, body_len: usize) -> Result<(Range<usize>, Range<usize>), Error> {
    let start = to_usize(layout::chunk_offset(index)?)?;
    let end = start.saturating_add(ENCRYPTED_CHUNK_LEN).min(body_len);
    let tags_before = to_usize(index.saturating_mul(TAG_LEN as u64))?;
    let plain_start = start.saturating_sub(tags_before);
    let len = end.saturating_sub(start).saturating_sub(TAG_LEN);
    Ok((start..end, plain_start..plain_start.saturating_add(len)))
}

fn to_usize(len: u64) -> Result<usize, Error> {
    usize::try_from(len).map_err(|_| Error::MessageTooLong)
}
