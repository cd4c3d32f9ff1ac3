#![doc = include_str!("../README.md")]
// Each item that a feature adds says so on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod administer;
mod backend;
mod blocking;
mod builder;
mod call;
mod flight;
mod generator;
mod inner;
mod keyring;
mod metadata;
mod runtime_thread;
#[cfg(feature = "test-util")]
pub mod scripted;
mod service;
mod service_error;
mod state;
mod sync_keyring;
mod unwrap;
mod wrap;

pub use administer::Administer;
pub use backend::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted};
pub use blocking::{Blocking, BlockingBuilder};
pub use builder::RemoteKeyringBuilder;
pub use call::{CallError, CallOptions, with_deadline, with_deadline_sync};
pub use keyring::RemoteKeyring;
pub use runtime_thread::StartError;
pub use service_error::{Cause, ServiceError};
pub use sync_keyring::SyncKeyring;
