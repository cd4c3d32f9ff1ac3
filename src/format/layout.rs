//! Lengths and offsets in a body, without a key: pure arithmetic in 64 bits on every machine.
//!
//! For lengths of messages see [`Header::plaintext_len`](crate::Header::plaintext_len) and
//! [`Header::message_len`](crate::Header::message_len).
//!
//! ```text
//! salt (24) | commitment (32) | chunk 0 (16,384 + 16) | chunk 1 | ... | last chunk (0..16,383 + 16)
//! ```
//!
//! Source: <https://c2sp.org/chunked-encryption>, "Message chunking".

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lengths and numbers are compared with their limits first, and those are below 2^53"
)]

use crate::crypto::aead;
use crate::error::Error;
use crate::format::MessagePart;

/// Plaintext bytes of every chunk but the last, which always has fewer (SPEC B-LAST).
pub const CHUNK_LEN: usize = 16_384;

/// Length of the tag behind each chunk, in bytes.
pub const TAG_LEN: usize = aead::TAG_LEN;

/// Length of a chunk with its tag, in bytes.
pub const ENCRYPTED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;

const CHUNK: u64 = CHUNK_LEN as u64;
const ENCRYPTED_CHUNK: u64 = ENCRYPTED_CHUNK_LEN as u64;

/// Length of the salt, in bytes.
pub const SALT_LEN: usize = 24;

/// Length of the commitment, in bytes.
pub const COMMITMENT_LEN: usize = 32;

/// Length of salt and commitment: the offset of chunk 0.
pub const PREFIX_LEN: usize = SALT_LEN + COMMITMENT_LEN;

/// Length of the shortest body, that of an empty plaintext: 72 bytes.
pub const MIN_BODY_LEN: u64 = (PREFIX_LEN + TAG_LEN) as u64;

/// Most chunks of a message (SPEC B-MAX): 2^38.
pub const MAX_CHUNKS: u64 = 1 << 38;

/// Longest plaintext in bytes: 4 PiB - 1.
pub const MAX_PLAINTEXT_LEN: u64 = MAX_CHUNKS * CHUNK - 1;
const _: () = assert!(MAX_CHUNKS <= (1 << 53) / ENCRYPTED_CHUNK);

/// Number of chunks for a plaintext of this length: at least one, since the last may be empty.
///
/// # Errors
///
/// [`Error::MessageTooLong`] beyond [`MAX_PLAINTEXT_LEN`].
pub fn chunk_count(plaintext_len: u64) -> Result<u64, Error> {
    if plaintext_len > MAX_PLAINTEXT_LEN {
        return Err(Error::MessageTooLong);
    }
    Ok(plaintext_len / CHUNK + 1)
}

/// Length of the body for a plaintext of this length: 56 bytes more, and 16 for each chunk.
///
/// # Errors
///
/// [`Error::MessageTooLong`] beyond [`MAX_PLAINTEXT_LEN`].
pub fn body_len(plaintext_len: u64) -> Result<u64, Error> {
    let tags = chunk_count(plaintext_len)? * TAG_LEN as u64;
    Ok(plaintext_len + tags + PREFIX_LEN as u64)
}

/// Length of the plaintext for a body of this length, which is unverified until the last chunk is verified.
///
/// # Errors
///
/// [`Error::Truncated`] if no body has this length: it ends before the first chunk's tag, at the
/// end of a full chunk, or within a tag (SPEC B-LENGTH). [`Error::MessageTooLong`] if it is
/// longer than any.
pub fn plaintext_len(body_len: u64) -> Result<u64, Error> {
    let truncated = |needed| Error::Truncated { part: MessagePart::Body, len: body_len, needed };
    let chunks_len = body_len.checked_sub(PREFIX_LEN as u64).ok_or(truncated(MIN_BODY_LEN))?;
    let full = chunks_len / ENCRYPTED_CHUNK;
    let Some(last) = (chunks_len % ENCRYPTED_CHUNK).checked_sub(TAG_LEN as u64) else {
        // A body of the last lengths of 64 bits would be longer still.
        let needed = (full * ENCRYPTED_CHUNK).checked_add(MIN_BODY_LEN);
        return Err(truncated(needed.unwrap_or(u64::MAX)));
    };
    if full >= MAX_CHUNKS {
        return Err(Error::MessageTooLong);
    }
    Ok(full * CHUNK + last)
}

/// Offset in the body of chunk `index`.
///
/// # Errors
///
/// [`Error::MessageTooLong`] from chunk 2^38 on.
pub fn chunk_offset(index: u64) -> Result<u64, Error> {
    if index >= MAX_CHUNKS {
        return Err(Error::MessageTooLong);
    }
    Ok(index * ENCRYPTED_CHUNK + PREFIX_LEN as u64)
}

/// The number of the chunk that comes `chunks` after chunk `first`. It stops at the last number of
/// 64 bits, which no chunk can have: each from 2^38 on is refused where it is used.
pub(crate) const fn chunk_after(first: u64, chunks: usize) -> u64 {
    // Saturates: what is beyond is refused, and no number comes twice.
    first.saturating_add(chunks as u64)
}
