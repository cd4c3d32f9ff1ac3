//! Messages in files: rewrapped in place so that no crash loses one, read correctly after any crash,
//! encrypted and decrypted to files that appear complete or not at all. The operations are methods of
//! [`Envelope`](crate::Envelope), in `envelope/file.rs`.

mod error;
mod journal;
mod message;
mod options;
pub(crate) mod paths;
pub(crate) mod rewrap;
mod rewrite;
pub(crate) mod transcode;

pub use error::MessageFileError;
pub use message::MessageFile;
pub use options::NewFileOptions;
pub use rewrap::{FileChange, FileRewrap};
