//! Encryption and decryption of a whole body in one buffer, by one thread or by several.
//!
//! Each chunk moves by 16 bytes for each tag before it. Where two threads meet, the first bytes of the
//! input of one overlap the output of the other, so these are copied first.
//!
//! Chunks are encrypted or decrypted first and moved then, while they are in a cache: in runs, because
//! processors fetch a long run of ascending bytes from memory ahead of its use.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::between_buffers::{halves, split_mut};
use super::cipher::{ChunkDecryptor, ChunkEncryptor};
use crate::error::Error;
use crate::format::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, TAG_LEN};
use crate::threads::{Share, Threads};
use crate::wiped::WipedBuffer;
use core::ops::Range;
use zeroize::Zeroize;

/// Chunks of a run: a part of the cache next to the innermost one. Measured at 64 MiB: from the last chunk
/// back, one by one, encryption takes a quarter more time.
const RUN_CHUNKS: usize = 16;

/// Bytes that are in a cache anyway: to decrypt them, a chunk at a time is faster by a hundredth.
const CACHED_LEN: usize = 4 << 20;

/// Encrypts in place. `body` has exactly the length of the body, with the plaintext from byte 56 on.
pub(crate) fn encrypt(
    encryptor: &ChunkEncryptor,
    body: &mut [u8],
    threads: Option<&Threads>,
) -> Result<(), Error> {
    layout::plaintext_len(body.len() as u64)?;
    let wrong_length = Error::BufferLength { len: body.len(), needed: PREFIX_LEN };
    let (prefix, chunks) = body.split_first_chunk_mut().ok_or(wrong_length)?;
    let share = Share::of(threads, chunks.len(), encryptor.is_fast());
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
    // From the last run back, and from the last chunk of each, they move behind the tags before them.
    let region_len = region.len();
    let chunks = region_len.div_ceil(ENCRYPTED_CHUNK_LEN);
    for start in (0..chunks).step_by(RUN_CHUNKS).rev() {
        let run = start..(start + RUN_CHUNKS).min(chunks);
        let to = |chunk: usize| {
            let to = chunk * ENCRYPTED_CHUNK_LEN;
            to..(to + ENCRYPTED_CHUNK_LEN).min(region_len)
        };
        let from = |chunk: usize| chunk * CHUNK_LEN..chunk * CHUNK_LEN + to(chunk).len() - TAG_LEN;
        let mut tags = [[0; TAG_LEN]; RUN_CHUNKS];
        for (chunk, tag) in run.clone().zip(&mut tags) {
            if let Some(from) = behind(aside, from(chunk)) {
                let index = layout::chunk_after(first, chunk);
                *tag = encryptor.encrypt_chunk_in_place(index, part(region, from))?;
            }
        }
        for (chunk, tag) in run.zip(tags).rev() {
            let Some(from) = behind(aside, from(chunk)) else {
                let plaintext = gather(aside, region, from(chunk));
                let index = layout::chunk_after(first, chunk);
                encryptor.encrypt_chunk_into(index, &plaintext, part(region, to(chunk)))?;
                continue;
            };
            let len = from.len();
            let encrypted = to(chunk);
            if from.start != encrypted.start {
                region.copy_within(from, encrypted.start);
            }
            part(region, encrypted)[len..].copy_from_slice(&tag);
        }
    }
    Ok(())
}

/// Returns the range in the region of a range of the concatenation of `aside` and the region, if it
/// lies in the region alone.
fn behind(aside: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    Some(range.start.checked_sub(aside.len())?..range.end - aside.len())
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
    let share = Share::of(threads, region.len(), decryptor.is_fast());
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
    let region_len = region.len();
    let end = region_len + aside.len();
    let worth = |half: usize| skip + half * ENCRYPTED_CHUNK_LEN <= region_len;
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
    let chunks = (end - skip).div_ceil(ENCRYPTED_CHUNK_LEN);
    let run_chunks = if end > CACHED_LEN { RUN_CHUNKS } else { 1 };
    let from = |chunk: usize| {
        let from = skip + chunk * ENCRYPTED_CHUNK_LEN;
        from..(from + ENCRYPTED_CHUNK_LEN).min(end)
    };
    for start in (0..chunks).step_by(run_chunks) {
        let run = start..(start + run_chunks).min(chunks);
        for chunk in run.clone().filter(|chunk| from(*chunk).end <= region_len) {
            let index = layout::chunk_after(first, chunk);
            decryptor.decrypt_in_place(index, part(region, from(chunk)))?;
        }
        for chunk in run {
            let (from, to) = (from(chunk), chunk * CHUNK_LEN);
            if from.end > region_len {
                let mut encrypted = gather(region, aside, from);
                let index = layout::chunk_after(first, chunk);
                let plaintext = decryptor.decrypt_in_place(index, &mut encrypted)?;
                part(region, to..to + plaintext.len()).copy_from_slice(plaintext);
            } else if from.start != to {
                region.copy_within(from.start..from.end - TAG_LEN, to);
            }
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
