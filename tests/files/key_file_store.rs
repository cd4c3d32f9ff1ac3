//! The storage under the file keyring: every crash, every failed call, every planted file.
//!
//! `crashes`, `readers` and `faults` run on a simulated directory; `real` on this machine's own
//! file systems.

#![cfg(all(feature = "file", unix))]

mod crashes;
mod faults;
mod fingerprints;
mod limits;
mod readers;
mod real;
mod world;
