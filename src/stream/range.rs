//! Decryption of a part of a message: which bytes to fetch, and their plaintext.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions within a body, whose length was checked"
)]

use super::MessageStart;
use crate::aad::Aad;
use crate::body::{ChunkDecryptor, between_buffers};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::format::layout::{self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, TAG_LEN};
use crate::keyring::Keyring;
use crate::threads::Threads;
use crate::wiped::WipedBuffer;
use core::fmt;
use core::ops::Range;
use zeroize::Zeroize;

const CHUNK: u64 = CHUNK_LEN as u64;

/// Decrypts any part of a message without the rest and without I/O: plan, fetch, decrypt. Created by
/// [`open`](Self::open) or [`OpenedKey::range_decryptor`](crate::OpenedKey::range_decryptor).
///
/// For object stores with ranged requests:
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring, stream::{MessageStart, RangeDecryptor}};
///
/// let envelope = Envelope::new(MemoryKeyring::create("videos")?);
/// let object = envelope.encrypt(&vec![7; 100_000], Aad::none())?;
/// let get = |range: std::ops::Range<u64>| object[range.start as usize..range.end as usize].to_vec();
///
/// let mut start = MessageStart::new(); // 4 KiB hold nearly every start
/// start.update(&get(0..4096))?;
/// let total = object.len() as u64; // as the answer to that request says
/// let message = RangeDecryptor::open(&envelope, &start, total, Aad::none())?;
///
/// let plan = message.plan(70_000..70_010);
/// let mut bytes = get(plan.encrypted());
/// assert_eq!(message.decrypt_in_place(&plan, &mut bytes)?, [7; 10]);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Length
///
/// Each chunk is verified with its position. The length of the message is a claim of its storage until
/// the last chunk has been verified at the position that this length implies; hence the name
/// [`unverified_len`](Self::unverified_len). A plan that reaches beyond the end contains the last chunk.
/// The plaintext of a plan is authentic, whatever the rest of the message is.
pub struct RangeDecryptor {
    decryptor: ChunkDecryptor,
    threads: Option<Threads>,
    body_offset: u64,
    body_len: u64,
    plaintext_len: u64,
}

/// The bytes of a message that hold a range of its plaintext; created by [`RangeDecryptor::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangePlan {
    /// The range asked for, within the message.
    plaintext: Range<u64>,
    /// The chunks that hold it.
    chunks: Range<u64>,
    /// Their offsets.
    encrypted: Range<u64>,
    /// The offsets of the body that the plan is for.
    body: Range<u64>,
}

impl RangePlan {
    /// Returns the bytes to fetch: offsets in the message, or in the body if the header is stored apart.
    pub fn encrypted(&self) -> Range<u64> {
        self.encrypted.clone()
    }

    /// Returns the number of bytes to fetch.
    pub fn encrypted_len(&self) -> u64 {
        self.encrypted.end - self.encrypted.start
    }

    /// Returns the range of the plaintext in them. It is shorter than the range asked for only if the
    /// message ends before, which decrypting this plan proves.
    pub fn plaintext(&self) -> Range<u64> {
        self.plaintext.clone()
    }

    /// Returns the length in bytes of that plaintext.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext.end - self.plaintext.start
    }

    /// The bytes of the first chunk before the range.
    fn skip(&self) -> usize {
        (self.plaintext.start % CHUNK) as usize
    }
}

impl RangeDecryptor {
    /// Unwraps with the keyring of `envelope` and returns a decryptor of parts of the message. `len` is the
    /// length in bytes of the message, or of the body if the header is detached. Without a keyring, call
    /// [`OpenedKey::range_decryptor`](crate::OpenedKey::range_decryptor).
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::decrypt`]; [`Error::Truncated`] if the start is not complete, or if no
    /// message has this length.
    pub fn open<K: Keyring, R>(
        envelope: &Envelope<K, R>,
        start: &MessageStart,
        len: u64,
        aad: Aad<'_>,
    ) -> Result<Self, Error> {
        envelope.range_decryptor(start, len, aad)
    }

    pub(crate) fn new(
        decryptor: ChunkDecryptor,
        threads: Option<Threads>,
        body_offset: u64,
        body_len: u64,
    ) -> Result<Self, Error> {
        let plaintext_len = layout::plaintext_len(body_len)?;
        Ok(RangeDecryptor { decryptor, threads, body_offset, body_len, plaintext_len })
    }

    /// Returns the length in bytes of the plaintext that the given length of the message implies.
    ///
    /// Verified once [`plan_end`](Self::plan_end), or any plan that contains the last chunk, was
    /// decrypted.
    pub fn unverified_len(&self) -> u64 {
        self.plaintext_len
    }

    /// The offset of the body in the source.
    #[cfg(feature = "std")]
    pub(crate) fn body_offset(&self) -> u64 {
        self.body_offset
    }

    #[cfg(feature = "std")]
    pub(crate) fn threads(&self) -> Option<&Threads> {
        self.threads.as_ref().filter(|threads| threads.share_streams(self.decryptor.is_fast()))
    }

    /// Returns whether decrypting `plan` proves the length.
    pub fn proves_len(&self, plan: &RangePlan) -> bool {
        plan.body == self.body() && plan.chunks.end > self.last_chunk()
    }

    /// Plans the chunks that a range of the plaintext touches. A range that reaches beyond the end is cut
    /// there, and its plan contains the last chunk, which proves the end.
    pub fn plan(&self, plaintext: Range<u64>) -> RangePlan {
        // SPEC B-PART
        let beyond = plaintext.end > self.plaintext_len && !plaintext.is_empty();
        let end = plaintext.end.min(self.plaintext_len);
        let start = plaintext.start.min(end);
        let last = self.last_chunk();
        let first = start / CHUNK;
        let chunks = if beyond {
            first..last + 1
        } else if start == end {
            first..first
        } else {
            first..end.div_ceil(CHUNK)
        };
        let encrypted = self.offset(chunks.start)..self.offset(chunks.end);
        RangePlan { plaintext: start..end, chunks, encrypted, body: self.body() }
    }

    /// Plans the last chunk and none of its plaintext: decrypting it proves the length.
    pub fn plan_end(&self) -> RangePlan {
        let last = self.last_chunk();
        let encrypted = self.offset(last)..self.offset(last + 1);
        let end = self.plaintext_len;
        RangePlan { plaintext: end..end, chunks: last..last + 1, encrypted, body: self.body() }
    }

    /// Verifies and decrypts the bytes fetched for `plan`, and returns the plaintext, a part of
    /// `encrypted`.
    ///
    /// # Errors
    ///
    /// [`Error::BufferLength`] if `encrypted` has another length than the plan's;
    /// [`Error::Chunk`] if the plan belongs to a message of another length; [`Error::Authentication`] if
    /// a chunk does not verify, and all of `encrypted` is then wiped.
    pub fn decrypt_in_place<'b>(
        &self,
        plan: &RangePlan,
        encrypted: &'b mut [u8],
    ) -> Result<&'b mut [u8], Error> {
        self.check_plan(plan)?;
        check_len(encrypted, plan.encrypted_len())?;
        let mut end = 0_usize;
        for (index, start) in plan.chunks.clone().zip((0_usize..).step_by(ENCRYPTED_CHUNK_LEN)) {
            let stop = encrypted.len().min(start + ENCRYPTED_CHUNK_LEN);
            let chunk = &mut encrypted[start..stop];
            let len = match self.decryptor.decrypt_in_place(index, chunk) {
                Ok(plaintext) => plaintext.len(),
                Err(error) => {
                    encrypted.zeroize();
                    return Err(error);
                }
            };
            if end != start {
                encrypted.copy_within(start..start + len, end);
            }
            end += len;
        }
        // Behind chunks that moved their old bytes are left.
        encrypted[end..].zeroize();
        let skip = plan.skip();
        let len = usize::try_from(plan.plaintext_len()).map_err(|_| Error::MessageTooLong)?;
        // An empty plan may have no chunk.
        if len == 0 { Ok(&mut []) } else { Ok(&mut encrypted[skip..skip + len]) }
    }

    /// Verifies and decrypts the bytes fetched for `plan` into `out`, which has exactly the length of the
    /// plaintext.
    ///
    /// # Errors
    ///
    /// [`Error::BufferLength`] if either buffer has another length than the plan's;
    /// [`Error::Chunk`] if the plan belongs to a message of another length; [`Error::Authentication`] if
    /// a chunk does not verify, and `out` is then wiped.
    pub fn decrypt_into(
        &self,
        plan: &RangePlan,
        encrypted: &[u8],
        out: &mut [u8],
    ) -> Result<(), Error> {
        self.check_plan(plan)?;
        check_len(encrypted, plan.encrypted_len())?;
        check_len(out, plan.plaintext_len())?;
        let decrypted = self.decrypt_pieces(plan, encrypted, out);
        if decrypted.is_err() {
            out.zeroize();
        }
        decrypted
    }

    /// Decrypts chunks that are wanted whole straight to `out`; of the others a part is copied.
    fn decrypt_pieces(
        &self,
        plan: &RangePlan,
        mut encrypted: &[u8],
        mut out: &mut [u8],
    ) -> Result<(), Error> {
        let mut index = plan.chunks.start;
        let mut skip = plan.skip();
        while !encrypted.is_empty() {
            let whole = if skip == 0 { whole_chunks(encrypted.len(), out.len()) } else { 0 };
            let chunks = whole.max(1);
            let taken = (chunks * ENCRYPTED_CHUNK_LEN).min(encrypted.len());
            let (run, encrypted_rest) = encrypted.split_at(taken);
            if whole > 0 {
                let (room, rest) = out.split_at_mut(plain_len(run.len(), chunks).min(out.len()));
                let threads = self.threads.as_ref();
                let decrypted =
                    between_buffers::decrypt_into(&self.decryptor, index, run, room, threads);
                decrypted.failure.map_or(Ok(()), Err)?;
                out = rest;
            } else {
                let mut chunk = WipedBuffer::zeros(plain_len(run.len(), 1));
                self.decryptor.decrypt_into(index, run, &mut chunk)?;
                let wanted = &chunk[skip..];
                let (room, rest) = out.split_at_mut(wanted.len().min(out.len()));
                room.copy_from_slice(&wanted[..room.len()]);
                skip = 0;
                out = rest;
            }
            encrypted = encrypted_rest;
            index = layout::chunk_after(index, chunks);
        }
        Ok(())
    }

    /// The offsets of the body in the source.
    fn body(&self) -> Range<u64> {
        self.body_offset..self.body_offset + self.body_len
    }

    /// Refuses a plan for a message of another length.
    fn check_plan(&self, plan: &RangePlan) -> Result<(), Error> {
        if plan.body == self.body() {
            return Ok(());
        }
        // Saturates: for a message.
        let len = usize::try_from(plan.encrypted_len()).unwrap_or(usize::MAX);
        Err(Error::Chunk { index: plan.chunks.start, len })
    }

    fn last_chunk(&self) -> u64 {
        self.plaintext_len / CHUNK
    }

    /// The offset of chunk `index` in the source; behind the last one, the end.
    fn offset(&self, index: u64) -> u64 {
        let offset = layout::chunk_offset(index).unwrap_or(u64::MAX).min(self.body_len);
        self.body_offset + offset
    }
}

/// The number of chunks at the start of `encrypted_len` bytes that are wanted whole. The last chunk of
/// a message, shorter than the others, is one of them if all of it fits.
fn whole_chunks(encrypted_len: usize, room: usize) -> usize {
    let chunks = encrypted_len.div_ceil(ENCRYPTED_CHUNK_LEN);
    if plain_len(encrypted_len, chunks) <= room {
        return chunks;
    }
    (room / CHUNK_LEN).min(chunks)
}

fn plain_len(encrypted_len: usize, chunks: usize) -> usize {
    encrypted_len - chunks * TAG_LEN
}

fn check_len(buffer: &[u8], needed: u64) -> Result<(), Error> {
    let needed = usize::try_from(needed).map_err(|_| Error::MessageTooLong)?;
    let len = buffer.len();
    if len == needed { Ok(()) } else { Err(Error::BufferLength { len, needed }) }
}

impl fmt::Debug for RangeDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeDecryptor")
            .field("unverified_len", &self.plaintext_len)
            .finish_non_exhaustive()
    }
}
