//! A whole body between two buffers.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use super::layout::{self, PREFIX_LEN};
use super::run;
use crate::error::Error;
use crate::threads::Threads;
use zeroize::Zeroize;

/// Encrypts `plaintext` into `body`, which must have exactly the length of the body.
pub(crate) fn encrypt_into(
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
    run::encrypt_into(encryptor, 0, plaintext, encrypted, threads)
}

/// Decrypts `body` into `plaintext`, which must have exactly the plaintext's length. On failure
/// `plaintext` is wiped (SPEC B-RELEASE).
pub(crate) fn decrypt_into(
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
    match run::decrypt_into(decryptor, 0, encrypted, plaintext, threads).failure {
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
