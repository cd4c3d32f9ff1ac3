//! Messages that are not in memory as a whole: bytes in, bytes out, without any I/O.
//!
//! `chunks` is the machine that gathers, encrypts or decrypts and gives out; `encryptor` and
//! `decryptor` are its two directions. `start` collects what must be known before the first
//! chunk; `range` plans which bytes hold a part of the plaintext. Whatever reads, writes, seeks or
//! awaits is a thin layer above these.

mod chunk_stream;
mod completion;
mod decryptor;
mod encryptor;
mod range;
mod start;

#[cfg(feature = "std")]
pub use crate::body::layout;
#[cfg(feature = "tokio")]
pub use crate::io::{AsyncDecryptReader, AsyncEncryptWriter};
#[cfg(feature = "std")]
pub use crate::io::{DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt, SeekReader};
pub(crate) use chunk_stream::{ChunkStream, ChunkTransform};
pub(crate) use completion::Completion;
pub use decryptor::StreamDecryptor;
pub use encryptor::StreamEncryptor;
pub use range::{RangeDecryptor, RangePlan};
pub use start::MessageStart;

/// How far one call of a stream came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// Bytes that were written to the output.
    pub produced: usize,
}
