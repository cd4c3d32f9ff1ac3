//! HMAC-SHA-256 (RFC 2104) under a key that is set up once.

use super::{CryptoError, compare};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// Length of a MAC, in bytes.
pub(crate) const MAC_LEN: usize = 32;

/// HMAC-SHA-256 under one key, with or without bytes put in so far.
#[derive(Clone)]
pub(crate) struct Mac(Hmac<Sha256>);

impl Mac {
    /// Sets up `key`.
    pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        Hmac::new_from_slice(key).map(Mac).map_err(|_| CryptoError)
    }

    /// The same, and `bytes` behind what was put in before.
    #[must_use]
    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// Puts in `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The MAC of what was put in.
    pub(crate) fn tag(self) -> [u8; MAC_LEN] {
        self.0.finalize().into_bytes().into()
    }

    /// Whether `tag` is the MAC of what was put in, in constant time.
    pub(crate) fn verifies(self, tag: &[u8; MAC_LEN]) -> bool {
        compare::equal(&self.tag(), tag)
    }
}
