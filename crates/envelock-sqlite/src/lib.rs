#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod error;
mod key;
mod schema;
mod store;
mod table;
mod writer;

pub use error::{OpenError, SqliteError};
pub use store::SqliteStore;
pub use table::{Table, Value};
