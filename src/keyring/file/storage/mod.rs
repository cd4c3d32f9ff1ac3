//! Durable storage of one file of bytes, above [`crate::fs`]. It knows nothing of keys.

mod in_memory;
mod read;
mod store;
mod writer;

pub(super) use in_memory::MemoryFile;
pub use read::Fingerprint;
#[cfg(any(test, feature = "test-util"))]
pub use read::Loaded;
pub use store::{MAX_KEY_FILE_LEN, Store};
pub use writer::Writer;
