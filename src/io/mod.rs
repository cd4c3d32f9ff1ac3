//! `Read`, `Write` and `Seek` over the streams: thin layers that hold buffers and no rules.

mod batch;
mod buffer;
mod chunk_reader;
mod chunk_writer;
mod decrypt_reader;
mod encrypt_reader;
mod encrypt_writer;
mod error;
pub(crate) mod open;
mod range_reader;
mod read_at;
mod seek_reader;
mod sticky_error;
#[cfg(feature = "tokio")]
mod tokio;
mod write_buffer;

#[cfg(feature = "tokio")]
pub use self::tokio::{AsyncDecryptReader, AsyncEncryptWriter};
pub use decrypt_reader::DecryptReader;
pub use encrypt_reader::EncryptReader;
pub use encrypt_writer::EncryptWriter;
pub(crate) use error::is_retryable;
#[cfg(all(feature = "file", unix))]
pub(crate) use error::uninterrupted;
pub use range_reader::RangeReader;
pub use read_at::ReadAt;
pub use seek_reader::SeekReader;
