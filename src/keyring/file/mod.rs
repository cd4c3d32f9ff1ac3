//! The file keyring: master keys in one file that outlives crashes, writers and disk errors.
//!
//! `directory` is the seam to the operating system, one system call a method; `os` is its real
//! side. `store` keeps one file of bytes durably above it and knows nothing of keys.

pub(crate) mod check;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod lock;
pub(crate) mod os;
pub(crate) mod read;
pub(crate) mod stamp;
pub(crate) mod store;
pub(crate) mod trust;
pub(crate) mod writer;
