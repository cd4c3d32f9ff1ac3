//! `Read`, `Write` and `Seek` over the streams: thin layers that hold buffers and no rules.

mod begin;
mod buffer;
mod chunk_reader;
mod decrypt_reader;
mod encrypt_reader;
mod encrypt_writer;
mod envelope;
mod error;
mod opened;
mod range_reader;
mod read_at;
mod seek_reader;
#[cfg(feature = "tokio")]
mod tokio;
mod write_buffer;

#[cfg(feature = "tokio")]
pub use self::tokio::{AsyncDecryptReader, AsyncEncryptWriter};
pub use decrypt_reader::DecryptReader;
pub use encrypt_reader::EncryptReader;
pub use encrypt_writer::EncryptWriter;
pub(crate) use error::may_pass;
pub use range_reader::RangeReader;
pub use read_at::{ReadAt, SeekSource};
pub use seek_reader::SeekReader;

use crate::body::layout::CHUNK_LEN;
use crate::threads::Threads;

/// Chunks that a buffer holds: enough that system calls and cache lines do not show.
const CHUNKS: usize = 4;

/// Chunks that a buffer holds once [`LONG_LEN`] bytes have gone through, when its first touch no
/// longer shows: then what goes to a file and comes from it does so in large pieces.
const LONG_CHUNKS: usize = 16;

const LONG_LEN: u64 = 1 << 20;

/// The most chunks that are shared at a time, 4 MiB, however many threads there are.
const MAX_CHUNKS: usize = 256;

/// How many bytes of a stream go through on one thread before several share the rest: buffers for
/// all of them are worth it for long messages only.
fn alone(threads: Option<&Threads>) -> u64 {
    // Saturates: never.
    threads.map_or(0, |threads| (threads.least_len() as u64).saturating_mul(2))
}

/// How many chunks of a part are turned at a time.
fn batch(threads: Option<&Threads>) -> usize {
    threads.map_or(CHUNKS, |threads| {
        let each = threads.least_len().div_ceil(CHUNK_LEN);
        // Saturates: no more than so many are shared.
        threads.most().saturating_mul(each).clamp(CHUNKS, MAX_CHUNKS)
    })
}
