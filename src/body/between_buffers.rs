//! Neighbouring chunks, or a whole body, between two buffers, by one thread or by several.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use crate::error::Error;
use crate::format::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, TAG_LEN};
use crate::threads::{Share, Threads};
use zeroize::Zeroize;

/// Encrypts chunks from number `first` on. All but the last piece of `plaintext` are full chunks;
/// `encrypted` has 16 bytes more for each chunk, and decides how many there are.
pub(crate) fn encrypt_into(
    encryptor: &ChunkEncryptor,
    first: u64,
    plaintext: &[u8],
    encrypted: &mut [u8],
    threads: Option<&Threads>,
) -> Result<(), Error> {
    let share = Share::of(threads, encrypted.len(), encryptor.is_fast());
    encrypt_shared(encryptor, first, plaintext, encrypted, share)
}

fn encrypt_shared(
    encryptor: &ChunkEncryptor,
    first: u64,
    plaintext: &[u8],
    encrypted: &mut [u8],
    share: Option<Share<'_>>,
) -> Result<(), Error> {
    if let Some((shares, half)) = halves(share, encrypted.len()) {
        let (plain_one, plain_other) = split(plaintext, half * CHUNK_LEN);
        let (one, other) = split_mut(encrypted, half * ENCRYPTED_CHUNK_LEN);
        let second = layout::chunk_after(first, half);
        let (one, other) = shares.0.join(
            || encrypt_shared(encryptor, first, plain_one, one, Some(shares.0)),
            || encrypt_shared(encryptor, second, plain_other, other, Some(shares.1)),
        );
        return one.and(other);
    }
    // The body always has a short last chunk; where it is empty, the plaintext has no such piece.
    let chunks = plaintext.chunks(CHUNK_LEN).chain(core::iter::repeat(&[][..]));
    for (index, (encrypted, chunk)) in
        (first..).zip(encrypted.chunks_mut(ENCRYPTED_CHUNK_LEN).zip(chunks))
    {
        encryptor.encrypt_chunk_into(index, chunk, encrypted)?;
    }
    Ok(())
}

/// The result of the decryption of neighbouring chunks.
pub(crate) struct Decrypted {
    /// Bytes of plaintext that are verified: all before the first chunk that failed.
    pub(crate) len: usize,
    /// Why that chunk failed. From there on the output is wiped.
    pub(crate) failure: Option<Error>,
}

/// Decrypts chunks from number `first` on. `plaintext` has 16 bytes less for each chunk.
pub(crate) fn decrypt_into(
    decryptor: &ChunkDecryptor,
    first: u64,
    encrypted: &[u8],
    plaintext: &mut [u8],
    threads: Option<&Threads>,
) -> Decrypted {
    let share = Share::of(threads, encrypted.len(), decryptor.is_fast());
    decrypt_shared(decryptor, first, encrypted, plaintext, share)
}

fn decrypt_shared(
    decryptor: &ChunkDecryptor,
    first: u64,
    encrypted: &[u8],
    plaintext: &mut [u8],
    share: Option<Share<'_>>,
) -> Decrypted {
    if let Some((shares, half)) = halves(share, encrypted.len()) {
        let (encrypted_one, encrypted_other) = split(encrypted, half * ENCRYPTED_CHUNK_LEN);
        let (one, other) = split_mut(plaintext, half * CHUNK_LEN);
        let one_len = one.len();
        let second = layout::chunk_after(first, half);
        let (done, beyond) = shares.0.join(
            || decrypt_shared(decryptor, first, encrypted_one, one, Some(shares.0)),
            || decrypt_shared(decryptor, second, encrypted_other, other, Some(shares.1)),
        );
        if done.failure.is_some() {
            // SPEC B-RELEASE: in order, whichever thread was faster.
            plaintext[one_len..].zeroize();
            return done;
        }
        return Decrypted { len: one_len + beyond.len, failure: beyond.failure };
    }
    let mut len = 0_usize;
    for (index, encrypted) in (first..).zip(encrypted.chunks(ENCRYPTED_CHUNK_LEN)) {
        let rest = &mut plaintext[len..];
        let chunk_len = encrypted.len() - TAG_LEN;
        let chunk = &mut rest[..chunk_len];
        if let Err(error) = decryptor.decrypt_into(index, encrypted, chunk) {
            rest.zeroize();
            return Decrypted { len, failure: Some(error) };
        }
        len += chunk_len;
    }
    Decrypted { len, failure: None }
}

/// Encrypts `plaintext` into `body`, which must have exactly the length of the body.
pub(crate) fn encrypt_body(
    encryptor: &ChunkEncryptor,
    plaintext: &[u8],
    body: &mut [u8],
    threads: Option<&Threads>,
) -> Result<(), Error> {
    let needed = to_usize(layout::body_len(plaintext.len() as u64)?)?;
    let wrong_length = Error::BufferLength { len: body.len(), needed };
    if body.len() != needed {
        return Err(wrong_length);
    }
    let (prefix, encrypted) = body.split_first_chunk_mut().ok_or(wrong_length)?;
    *prefix = *encryptor.prefix();
    encrypt_into(encryptor, 0, plaintext, encrypted, threads)
}

/// Decrypts `body` into `plaintext`, which must have exactly the plaintext's length. On failure
/// `plaintext` is wiped (SPEC B-RELEASE).
pub(crate) fn decrypt_body(
    decryptor: &ChunkDecryptor,
    body: &[u8],
    plaintext: &mut [u8],
    threads: Option<&Threads>,
) -> Result<(), Error> {
    let needed = to_usize(layout::plaintext_len(body.len() as u64)?)?;
    if plaintext.len() != needed {
        return Err(Error::BufferLength { len: plaintext.len(), needed });
    }
    let encrypted = &body[PREFIX_LEN..];
    match decrypt_into(decryptor, 0, encrypted, plaintext, threads).failure {
        Some(error) => {
            plaintext.zeroize();
            Err(error)
        }
        None => Ok(()),
    }
}

fn to_usize(len: u64) -> Result<usize, Error> {
    usize::try_from(len).map_err(|_| Error::MessageTooLong)
}

/// The other thread's share of the work, and the number of chunks of the first half.
pub(super) fn halves<'w>(
    share: Option<Share<'w>>,
    encrypted_len: usize,
) -> Option<((Share<'w>, Share<'w>), usize)> {
    let chunks = encrypted_len.div_ceil(ENCRYPTED_CHUNK_LEN);
    let shares = share.filter(|_| chunks > 1)?.halves()?;
    Some((shares, chunks.div_ceil(2)))
}

/// At the end if it has fewer bytes: the last chunk may be empty.
fn split(slice: &[u8], at: usize) -> (&[u8], &[u8]) {
    slice.split_at(at.min(slice.len()))
}

pub(super) fn split_mut(slice: &mut [u8], at: usize) -> (&mut [u8], &mut [u8]) {
    let at = at.min(slice.len());
    slice.split_at_mut(at)
}
