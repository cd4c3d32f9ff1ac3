//! The whole file keyring under crashes: every image that a crash can leave of each operation
//! opens as it was before or after, and a version that was used is never lost.

#![cfg(all(feature = "file", unix))]

pub mod disk_checker;
mod enumeration;
pub mod operations;
mod readers;
