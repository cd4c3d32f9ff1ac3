//! The body: C2SP chunked-encryption, unchanged, as a stateless layer addressed by chunk index.
//!
//! `cipher` encrypts or decrypts one chunk, `layout` knows where it stands, `run` takes neighbouring
//! ones by one thread or several, `whole` and `in_place` run over a body in memory.

mod cipher;
mod fork;
pub(crate) mod in_place;
pub mod layout;
pub(crate) mod run;
mod whole;

pub use cipher::{ChunkDecryptor, ChunkEncryptor};
pub(crate) use fork::ForkGuard;
pub(crate) use whole::{decrypt_into, encrypt_into};
