//! Primitives: the AEAD seam and its providers, HKDF-Expand, XAES-256-GCM, secret types.
//!
//! The lowest layer. It knows nothing of messages, headers or keyrings, and nothing above it
//! names a cipher crate.

pub(crate) mod aead;
#[cfg(all(feature = "file", unix))]
pub(crate) mod argon2id;
#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
pub(crate) mod compare;
#[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod graviola;
#[cfg(all(any(feature = "file", feature = "pkcs11"), unix))]
pub(crate) mod hash;
pub(crate) mod kdf;
#[cfg(all(feature = "file", unix))]
pub(crate) mod mac;
pub(crate) mod provider;
mod rustcrypto;
pub(crate) mod secret;
pub(crate) mod xaes;

#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod vectors;

/// A primitive refused: a tag that does not verify, or a length it cannot process.
///
/// Deliberately empty: what failed is of no use to anyone but an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoError;
