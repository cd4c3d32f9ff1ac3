//! Sizes of buffers and batches.

use crate::format::layout::CHUNK_LEN;
use crate::threads::Threads;

/// Bytes of the first read: more than nearly every header has, and cheap for a short message.
pub(super) const FIRST_LEN: usize = 4096;

/// Chunks in a buffer: enough to hide the cost of a system call, and few enough for the cache.
pub(super) const CHUNKS: usize = 4;

/// Chunks in a buffer once [`LONG_LEN`] bytes have gone through: a file is then read and written in
/// large pieces, and the first touch of the larger buffer costs little in comparison.
pub(super) const LONG_CHUNKS: usize = 16;

pub(super) const LONG_LEN: u64 = 1 << 20;

/// The most chunks that threads share at a time, 4 MiB, however many threads there are.
const MAX_CHUNKS: usize = 256;

/// Bytes of a stream that one thread transforms before several share the rest. Buffers for all of them
/// pay off for long messages only.
pub(super) fn single_thread_len(threads: Option<&Threads>) -> u64 {
    // Saturates: never.
    threads.map_or(0, |threads| (threads.min_len() as u64).saturating_mul(2))
}

/// Chunks of a range or of a shared batch.
pub(super) fn batch_chunks(threads: Option<&Threads>) -> usize {
    threads.map_or(CHUNKS, |threads| {
        let each = threads.min_len().div_ceil(CHUNK_LEN);
        // Saturates: no more than so many are shared.
        threads.max_threads().saturating_mul(each).clamp(CHUNKS, MAX_CHUNKS)
    })
}
