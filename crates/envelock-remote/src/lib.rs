#![doc = include_str!("../README.md")]
// Each item that a feature adds says so on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backend;
mod builder;
mod call;
mod flight;
mod inner;
mod keyring;
mod metadata;
#[cfg(feature = "test-util")]
pub mod scripted;
mod service;
mod service_error;
mod state;
mod unwrap;
mod wrap;

pub use backend::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted};
pub use builder::RemoteKeyringBuilder;
pub use call::{CallError, CallOptions, with_deadline, with_deadline_sync};
pub use keyring::RemoteKeyring;
pub use service_error::{Cause, ServiceError};
