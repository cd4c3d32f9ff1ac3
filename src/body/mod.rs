//! The body: C2SP chunked-encryption, unchanged, as a stateless layer addressed by chunk index.
//!
//! `cipher` encrypts or decrypts one chunk, `layout` knows where it stands, `run` takes neighbouring
//! ones or a whole body by one thread or several, `in_place` a body in its own place.

mod cipher;
mod fork;
pub(crate) mod in_place;
pub mod layout;
pub(crate) mod run;

pub use cipher::{ChunkDecryptor, ChunkEncryptor};
pub(crate) use fork::ForkGuard;
pub(crate) use run::{decrypt_body, encrypt_body};
