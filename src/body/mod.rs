//! The body: C2SP chunked-encryption, unchanged, as a stateless layer addressed by chunk index.
//!
//! `cipher` encrypts or decrypts one chunk, `layout` knows where it stands, `whole` runs over a
//! body in memory. Whatever streams, seeks or runs in parallel is built on the first two.

mod cipher;
pub mod layout;
mod whole;

pub use cipher::{ChunkDecryptor, ChunkEncryptor};
pub(crate) use whole::{decrypt_in_place, decrypt_into, encrypt_in_place, encrypt_into};
