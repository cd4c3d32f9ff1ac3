//! The body: C2SP chunked-encryption, unchanged, as a stateless layer addressed by chunk index.
//!
//! `cipher` encrypts or decrypts one chunk, `format::layout` has its offset, `between_buffers` and `in_place`
//! transform several chunks or a whole body, by one thread or several.

pub(crate) mod between_buffers;
mod cipher;
mod fork_guard;
pub(crate) mod in_place;

pub(crate) use between_buffers::{decrypt_body, encrypt_body};
pub use cipher::{ChunkDecryptor, ChunkEncryptor};
pub(crate) use fork_guard::ForkGuard;
