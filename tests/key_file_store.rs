//! The storage under the file keyring: every crash, every failed call, every planted file.
//!
//! `crashes`, `readers` and `faults` run on a simulated directory; `real` on this machine's own
//! file systems.

#![cfg(all(feature = "file", unix))]

#[path = "common/simulated_directory/mod.rs"]
mod simulated_directory;

#[path = "key_file_store/crashes.rs"]
mod crashes;
#[path = "key_file_store/faults.rs"]
mod faults;
#[path = "key_file_store/limits.rs"]
mod limits;
#[path = "key_file_store/readers.rs"]
mod readers;
#[path = "key_file_store/real/mod.rs"]
mod real;
#[path = "key_file_store/stamps.rs"]
mod stamps;
#[path = "key_file_store/world.rs"]
mod world;
