//! Messages that are not in memory as a whole: streams and ranges without I/O, and adapters over them.
//!
//! [`StreamEncryptor`] and [`StreamDecryptor`] take and return bytes; [`MessageStart`] collects the header
//! and salt that must be known before the first chunk; [`RangeDecryptor`] plans which bytes hold a part
//! of the plaintext. The readers and writers are thin layers above these: over `std::io` with feature
//! `std`, over tokio's traits with feature `tokio`.

mod chunk_stream;
mod completion;
mod decryptor;
mod encryptor;
mod range;
mod start;

#[cfg(feature = "tokio")]
pub use crate::io::{AsyncDecryptReader, AsyncEncryptWriter};
#[cfg(feature = "std")]
pub use crate::io::{DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt, SeekReader};
#[cfg(feature = "std")]
pub(crate) use chunk_stream::{ChunkStream, ChunkTransform};
pub(crate) use completion::{Completion, LabelCheck};
pub use decryptor::StreamDecryptor;
pub use encryptor::StreamEncryptor;
pub use range::{RangeDecryptor, RangePlan};
pub use start::MessageStart;

/// The progress of one call of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes of the input that were taken.
    pub consumed: usize,
    /// Bytes that were written to the output.
    pub produced: usize,
}
