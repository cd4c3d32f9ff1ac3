//! The content of a key file without a file.

use super::read::{Fingerprint, Loaded};
use crate::sync::lock;
use crate::wiped::WipedBuffer;
use std::sync::Mutex;

/// The path that errors report.
pub(super) const NAME: &str = "key file in memory";

/// Bytes that are read and exchanged as a whole. Without a protection they are key material.
pub(crate) struct MemoryFile(Mutex<Content>);

struct Content {
    bytes: WipedBuffer,
    /// Another one for each content.
    number: u64,
}

impl MemoryFile {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        MemoryFile(Mutex::new(Content { bytes: bytes.to_vec().into(), number: 1 }))
    }

    /// Takes `bytes`.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut content = lock(&self.0);
        // Wraps: two contents with one number would be 2^64 replacements apart.
        let number = content.number.wrapping_add(1);
        *content = Content { bytes: bytes.to_vec().into(), number };
    }

    pub(super) fn load(&self) -> Loaded {
        let content = lock(&self.0);
        Loaded::new(content.bytes.to_vec().into(), Fingerprint::of_number(content.number))
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_number(lock(&self.0).number)
    }
}
