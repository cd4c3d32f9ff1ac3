//! Messages in files: rewrapped in place so that no crash loses one, read correctly after any crash,
//! encrypted and decrypted to files that appear complete or not at all.

mod error;
mod journal;
mod message;
mod operations;
mod options;
pub(crate) mod paths;
pub(crate) mod reencrypt;
pub(crate) mod rewrap;
pub(crate) mod transcode;

pub use error::MessageFileError;
pub use message::MessageFile;
pub use operations::{
    add_slot, decrypt, decrypt_from, encrypt, encrypt_from, reencrypt, remove_name, replace_header,
    rewrap,
};
pub use options::NewFileOptions;
pub use rewrap::{FileChange, FileRewrap};
