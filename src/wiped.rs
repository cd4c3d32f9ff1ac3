//! A buffer that may hold plaintext, wiped on drop.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Bytes that are wiped on drop, what stands behind the length included. As fast as a fill, where
/// `Zeroize` goes byte by byte: a stream of a megabyte would spend a tenth of its time there.
///
/// Grow it by [`push_slice`](Self::push_slice): `Vec` itself would leave the old bytes behind.
#[derive(Default)]
pub(crate) struct WipedBuffer(Vec<u8>);

impl WipedBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        WipedBuffer(Vec::with_capacity(capacity))
    }

    /// Adds `bytes`. A buffer grows by doubling, to `most` bytes at last, and leaves nothing behind.
    pub(crate) fn push_slice(&mut self, bytes: &[u8], most: usize) {
        let needed = self.0.len() + bytes.len();
        if self.0.capacity() < needed {
            let doubled = needed.next_power_of_two();
            let is_last = doubled > most / 2;
            let capacity = if is_last { most.max(needed) } else { doubled };
            let mut larger = WipedBuffer::with_capacity(capacity);
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Keeps the first `len` bytes. What is behind them is wiped with the rest.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Hands out bytes that are no plaintext.
    #[cfg(feature = "std")]
    pub(crate) fn take_public(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }

    /// `len` zero bytes.
    pub(crate) fn zeros(len: usize) -> Self {
        WipedBuffer(alloc::vec![0; len])
    }
}

impl From<Vec<u8>> for WipedBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        WipedBuffer(bytes)
    }
}

/// As a slice only: what grows a `Vec` leaves bytes behind.
impl Deref for WipedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for WipedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.0.clear();
        // Up to the capacity: nothing is allocated.
        self.0.resize(self.0.capacity(), 0);
        zeroize::optimization_barrier(self.0.as_slice());
    }
}
