//! The body: C2SP chunked-encryption, unchanged, as a stateless layer addressed by chunk index.
//!
//! `cipher` encrypts or decrypts one chunk, `layout` knows where it stands, `run` takes neighbouring
//! ones by one thread or several, `whole` runs over a body in memory.

mod cipher;
pub mod layout;
pub(crate) mod run;
mod whole;

pub use cipher::{ChunkDecryptor, ChunkEncryptor};
pub(crate) use whole::{decrypt_in_place, decrypt_into, encrypt_in_place, encrypt_into};
