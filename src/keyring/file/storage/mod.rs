//! Durable storage of one file of bytes, above [`crate::fs`]. It knows nothing of keys.

mod fingerprint;
mod in_memory;
mod locator;
mod lock;
mod permissions;
mod read;
mod store;
mod sync_state;
mod writer;

pub use fingerprint::Fingerprint;
pub(super) use in_memory::MemoryFile;
#[cfg(any(test, feature = "test-util"))]
pub use read::Loaded;
pub use store::{MAX_KEY_FILE_LEN, Store};
pub use writer::Writer;
