//! Stores of headers.

mod memory;
mod selection;

pub use memory::MemoryStore;
pub use selection::Selection;
