//! Stores of headers.

#[cfg(all(feature = "file", unix))]
mod directory;
mod memory;
mod selection;
#[cfg(all(feature = "file", unix))]
mod walk;

#[cfg(all(feature = "file", unix))]
pub use directory::{Directory, Layout};
pub use memory::{MemoryItem, MemoryStore};
pub use selection::Selection;
