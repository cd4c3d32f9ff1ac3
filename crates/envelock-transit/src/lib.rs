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
#[doc(hidden)]
pub mod answer;
mod backend;
mod builder;
mod cause;
mod client;
mod http;
mod key;
mod record;
mod refusals;
mod request;
mod token;

pub use builder::{SetupError, TransitBuilder};
pub use cause::{RequestError, UnsuitableKey};
pub use client::{KeyConfig, Transit};
pub use key::KeyDescription;
pub use token::{InvalidToken, Token};
