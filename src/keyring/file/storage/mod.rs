//! Durable storage of one file of bytes, above [`crate::fs`]. It knows nothing of keys.

mod fingerprint;
pub(super) mod in_memory;
pub(super) mod location;
mod lock;
pub(super) mod permissions;
mod read;
mod store;
mod sync_state;
mod writer;

pub use fingerprint::Fingerprint;
pub use read::Loaded;
pub use store::{MAX_KEY_FILE_LEN, Store};
pub use writer::Writer;
