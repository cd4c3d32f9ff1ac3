//! A whole body in its own place, by one thread or by several.
//!
//! Chunks move as they are encrypted or decrypted, by 16 bytes for each tag before them. So where
//! threads share the work, the first bytes of what one of them reads stand where the one before
//! writes: they are set aside first.

use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use super::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, TAG_LEN};
use super::run::{halves, split_mut};
use crate::error::Error;
use crate::plain_buffer::PlainBuffer;
use crate::threads::{Share, Threads};
use core::ops::Range;
use zeroize::Zeroize;

/// Encrypts in place: the plaintext stands in `body` from byte 56 on, and `body` has exactly the
/// length of the body.
pub(crate) fn encrypt(
    encryptor: &ChunkEncryptor,
    body: &mut [u8],
    threads: Option<&Threads>,
) -> Result<(), Error> {
    layout::plaintext_len(body.len() as u64)?;
    let wrong_length = Error::BufferLength { len: body.len(), needed: PREFIX_LEN };
    let (prefix, chunks) = body.split_first_chunk_mut().ok_or(wrong_length)?;
    let share = Share::of(threads, chunks.len());
    encrypt_chunks(encryptor, 0, &[], chunks, share)?;
    *prefix = *encryptor.prefix();
    Ok(())
}

/// Encrypts what stands in `aside` and goes on at the start of `region`, from chunk `first` on; the
/// chunks fill `region`.
fn encrypt_chunks(
    encryptor: &ChunkEncryptor,
    first: u64,
    aside: &[u8],
    region: &mut [u8],
    share: Option<Share<'_>>,
) -> Result<(), Error> {
    let worth = |half: usize| aside.len() <= half.saturating_mul(CHUNK_LEN);
    if let Some((shares, half)) = halves(share, region.len()).filter(|(_, half)| worth(*half)) {
        let start = half.saturating_mul(CHUNK_LEN);
        let overwritten = half.saturating_mul(TAG_LEN).saturating_add(aside.len());
        let other_aside = gather(aside, region, start..start.saturating_add(overwritten));
        let (one, other) = split_mut(region, half.saturating_mul(ENCRYPTED_CHUNK_LEN));
        let second = first.saturating_add(half as u64);
        let (one, other) = shares.0.join(
            || encrypt_chunks(encryptor, first, aside, one, Some(shares.0)),
            || encrypt_chunks(encryptor, second, &other_aside, other, Some(shares.1)),
        );
        return one.and(other);
    }
    // From the last chunk back, each moves behind the tags of those before it.
    let chunks = region.len().div_ceil(ENCRYPTED_CHUNK_LEN);
    for chunk in (0..chunks).rev() {
        let index = first.saturating_add(chunk as u64);
        let to = chunk.saturating_mul(ENCRYPTED_CHUNK_LEN);
        let to = to..to.saturating_add(ENCRYPTED_CHUNK_LEN).min(region.len());
        let from = chunk.saturating_mul(CHUNK_LEN);
        let from = from..from.saturating_add(to.len().saturating_sub(TAG_LEN));
        if from.start < aside.len() {
            let plaintext = gather(aside, region, from);
            encryptor.seal_into(index, &plaintext, part(region, to))?;
            continue;
        }
        let from = from.start.saturating_sub(aside.len())..from.end.saturating_sub(aside.len());
        // Encrypted first and moved then, while it is in the cache.
        let tag = encryptor.seal_in_place(index, part(region, from.clone()))?;
        if from.start != to.start {
            region.copy_within(from, to.start);
        }
        let encrypted = part(region, to);
        let wrong_length = Error::Chunk { index, len: encrypted.len() };
        *encrypted.last_chunk_mut().ok_or(wrong_length)? = tag;
    }
    Ok(())
}

/// Decrypts in place and returns where in `body` the plaintext stands: from byte 56 on. On
/// failure all of `body` is wiped.
pub(crate) fn decrypt(
    decryptor: &ChunkDecryptor,
    body: &mut [u8],
    threads: Option<&Threads>,
) -> Result<Range<usize>, Error> {
    let len = layout::plaintext_len(body.len() as u64)?;
    let len = usize::try_from(len).map_err(|_| Error::MessageTooLong)?;
    let region = body.get_mut(PREFIX_LEN..).unwrap_or_default();
    let share = Share::of(threads, region.len());
    if let Err(error) = decrypt_chunks(decryptor, 0, region, 0, &[], share) {
        body.zeroize();
        return Err(error);
    }
    // Chunks that moved left their last bytes behind.
    region.get_mut(len..).unwrap_or_default().zeroize();
    Ok(PREFIX_LEN..PREFIX_LEN.saturating_add(len))
}

/// Decrypts the chunks that stand in `region` from byte `skip` on and go on in `aside`, from chunk
/// `first` on, to the start of `region`.
fn decrypt_chunks(
    decryptor: &ChunkDecryptor,
    first: u64,
    region: &mut [u8],
    skip: usize,
    aside: &[u8],
    share: Option<Share<'_>>,
) -> Result<(), Error> {
    let end = region.len().saturating_add(aside.len());
    let worth =
        |half: usize| skip.saturating_add(half.saturating_mul(ENCRYPTED_CHUNK_LEN)) <= region.len();
    let split_at = halves(share, end.saturating_sub(skip)).filter(|(_, half)| worth(*half));
    if let Some((shares, half)) = split_at {
        let border = half.saturating_mul(CHUNK_LEN);
        let overwritten = half.saturating_mul(TAG_LEN).saturating_add(skip);
        let one_aside = gather(&[], region, border..border.saturating_add(overwritten));
        let (one, other) = split_mut(region, border);
        let second = first.saturating_add(half as u64);
        let (one, other) = shares.0.join(
            || decrypt_chunks(decryptor, first, one, skip, &one_aside, Some(shares.0)),
            || decrypt_chunks(decryptor, second, other, overwritten, aside, Some(shares.1)),
        );
        return one.and(other);
    }
    let starts = (skip..end).step_by(ENCRYPTED_CHUNK_LEN);
    for ((index, from), to) in (first..).zip(starts).zip((0..).step_by(CHUNK_LEN)) {
        let from = from..from.saturating_add(ENCRYPTED_CHUNK_LEN).min(end);
        if from.end <= region.len() {
            let start = from.start;
            let len = decryptor.decrypt_in_place(index, part(region, from))?.len();
            if start != to {
                region.copy_within(start..start.saturating_add(len), to);
            }
        } else {
            let mut chunk = gather(region, aside, from);
            let plaintext = decryptor.decrypt_in_place(index, &mut chunk)?;
            let room = to..to.saturating_add(plaintext.len());
            part(region, room).copy_from_slice(plaintext);
        }
    }
    Ok(())
}

/// A copy of a range of `one` and `other`, taken for one slice.
fn gather(one: &[u8], other: &[u8], range: Range<usize>) -> PlainBuffer {
    let mut gathered = PlainBuffer::with_capacity(range.len());
    let in_one = range.start.min(one.len())..range.end.min(one.len());
    gathered.push_slice(one.get(in_one).unwrap_or_default(), range.len());
    let in_other = range.start.saturating_sub(one.len())..range.end.saturating_sub(one.len());
    gathered.push_slice(other.get(in_other).unwrap_or_default(), range.len());
    gathered
}

fn part(bytes: &mut [u8], range: Range<usize>) -> &mut [u8] {
    bytes.get_mut(range).unwrap_or_default()
}
