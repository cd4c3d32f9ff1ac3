//! Encryption and decryption of a whole body in one buffer, by one thread or by several.
//!
//! Each chunk moves by 16 bytes for each tag before it. Where two threads meet, the first bytes of the
//! input of one overlap the output of the other, so these are copied first.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::between_buffers::{halves, split_mut};
use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use super::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, TAG_LEN};
use crate::error::Error;
use crate::threads::{Share, Threads};
use crate::wiped::WipedBuffer;
use core::ops::Range;
use zeroize::Zeroize;

/// Encrypts in place. `body` has exactly the length of the body, with the plaintext from byte 56 on.
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

/// Encrypts the plaintext in `aside` and then at the start of `region`, from chunk `first` on. The chunks
/// fill `region`.
fn encrypt_chunks(
    encryptor: &ChunkEncryptor,
    first: u64,
    aside: &[u8],
    region: &mut [u8],
    share: Option<Share<'_>>,
) -> Result<(), Error> {
    let worth = |half: usize| aside.len() <= half * CHUNK_LEN;
    if let Some((shares, half)) = halves(share, region.len()).filter(|(_, half)| worth(*half)) {
        let start = half * CHUNK_LEN;
        let overwritten = half * TAG_LEN + aside.len();
        let other_aside = gather(aside, region, start..start + overwritten);
        let (one, other) = split_mut(region, half * ENCRYPTED_CHUNK_LEN);
        let second = layout::chunk_after(first, half);
        let (one, other) = shares.0.join(
            || encrypt_chunks(encryptor, first, aside, one, Some(shares.0)),
            || encrypt_chunks(encryptor, second, &other_aside, other, Some(shares.1)),
        );
        return one.and(other);
    }
    // From the last chunk back, each moves behind the tags of those before it.
    let chunks = region.len().div_ceil(ENCRYPTED_CHUNK_LEN);
    for chunk in (0..chunks).rev() {
        let index = layout::chunk_after(first, chunk);
        let to = chunk * ENCRYPTED_CHUNK_LEN;
        let to = to..(to + ENCRYPTED_CHUNK_LEN).min(region.len());
        let from = chunk * CHUNK_LEN;
        let from = from..from + (to.len() - TAG_LEN);
        if from.start < aside.len() {
            let plaintext = gather(aside, region, from);
            encryptor.seal_into(index, &plaintext, part(region, to))?;
            continue;
        }
        let from = from.start - aside.len()..from.end - aside.len();
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

/// Decrypts in place and returns the range of the plaintext in `body`, which starts at byte 56. On
/// failure all of `body` is wiped.
pub(crate) fn decrypt(
    decryptor: &ChunkDecryptor,
    body: &mut [u8],
    threads: Option<&Threads>,
) -> Result<Range<usize>, Error> {
    let len = layout::plaintext_len(body.len() as u64)?;
    let len = usize::try_from(len).map_err(|_| Error::MessageTooLong)?;
    let region = &mut body[PREFIX_LEN..];
    let share = Share::of(threads, region.len());
    if let Err(error) = decrypt_chunks(decryptor, 0, region, 0, &[], share) {
        body.zeroize();
        return Err(error);
    }
    // Chunks that moved left their last bytes behind.
    region[len..].zeroize();
    Ok(PREFIX_LEN..PREFIX_LEN + len)
}

/// Decrypts the chunks in `region` from byte `skip` on and then in `aside`, from chunk `first` on, to the
/// start of `region`.
fn decrypt_chunks(
    decryptor: &ChunkDecryptor,
    first: u64,
    region: &mut [u8],
    skip: usize,
    aside: &[u8],
    share: Option<Share<'_>>,
) -> Result<(), Error> {
    let end = region.len() + aside.len();
    let worth = |half: usize| skip + half * ENCRYPTED_CHUNK_LEN <= region.len();
    let split_at = halves(share, end - skip).filter(|(_, half)| worth(*half));
    if let Some((shares, half)) = split_at {
        let border = half * CHUNK_LEN;
        let overwritten = half * TAG_LEN + skip;
        let one_aside = gather(&[], region, border..border + overwritten);
        let (one, other) = split_mut(region, border);
        let second = layout::chunk_after(first, half);
        let (one, other) = shares.0.join(
            || decrypt_chunks(decryptor, first, one, skip, &one_aside, Some(shares.0)),
            || decrypt_chunks(decryptor, second, other, overwritten, aside, Some(shares.1)),
        );
        return one.and(other);
    }
    let starts = (skip..end).step_by(ENCRYPTED_CHUNK_LEN);
    for ((index, from), to) in (first..).zip(starts).zip((0..).step_by(CHUNK_LEN)) {
        let from = from..(from + ENCRYPTED_CHUNK_LEN).min(end);
        if from.end <= region.len() {
            let start = from.start;
            let len = decryptor.decrypt_in_place(index, part(region, from))?.len();
            if start != to {
                region.copy_within(start..start + len, to);
            }
        } else {
            let mut chunk = gather(region, aside, from);
            let plaintext = decryptor.decrypt_in_place(index, &mut chunk)?;
            let room = to..to + plaintext.len();
            part(region, room).copy_from_slice(plaintext);
        }
    }
    Ok(())
}

/// Returns a copy of a range of the concatenation of `one` and `other`.
fn gather(one: &[u8], other: &[u8], range: Range<usize>) -> WipedBuffer {
    let mut gathered = WipedBuffer::with_capacity(range.len());
    let in_one = range.start.min(one.len())..range.end.min(one.len());
    gathered.push_slice(&one[in_one], range.len());
    let in_other = range.start.max(one.len()) - one.len()..range.end.max(one.len()) - one.len();
    gathered.push_slice(&other[in_other], range.len());
    gathered
}

fn part(bytes: &mut [u8], range: Range<usize>) -> &mut [u8] {
    &mut bytes[range]
}
