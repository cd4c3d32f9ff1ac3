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
#[cfg_attr(not(test), expect(dead_code, reason = "its keyring is on its way"))]
mod call;
mod service_error;

pub use backend::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted};
pub use call::{CallError, CallOptions, with_deadline, with_deadline_sync};
pub use service_error::{Cause, ServiceError};
