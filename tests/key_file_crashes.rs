//! The whole file keyring under crashes: every image that a crash can leave of each operation
//! opens as it was before or after, and a version that somebody used is never lost.

#![cfg(all(feature = "file", unix))]

#[path = "common/simulated_directory/mod.rs"]
mod simulated_directory;

#[path = "key_file_crashes/enumeration.rs"]
mod enumeration;
#[path = "key_file_crashes/judge.rs"]
mod judge;
#[path = "key_file_crashes/operations.rs"]
mod operations;
#[path = "key_file_crashes/readers.rs"]
mod readers;
