//! Wiping: a buffer for plaintext and key files, and the stack.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Machines without a system have stacks of a few KiB.
const HAS_SYSTEM: bool = !cfg!(target_os = "none");

/// A byte buffer that wipes its whole capacity on drop.
///
/// The wipe is a fill: `Zeroize` writes byte by byte, which takes a tenth of the time of a stream of
/// one megabyte. The buffer grows by [`push_slice`](Self::push_slice) alone, since `Vec` leaves a copy
/// of its content behind when it grows.
#[derive(Default)]
pub(crate) struct WipedBuffer(Vec<u8>);

impl WipedBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        WipedBuffer(Vec::with_capacity(capacity))
    }

    /// Appends `bytes`. The capacity doubles, up to `most` bytes; the old allocation is wiped.
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

    /// Keeps the first `len` bytes. The rest is wiped on drop.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Returns the bytes without a wipe. They must not be plaintext.
    pub(crate) fn take_public(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }

    /// Returns a buffer of `len` zero bytes.
    pub(crate) fn zeros(len: usize) -> Self {
        WipedBuffer(alloc::vec![0; len])
    }
}

impl From<Vec<u8>> for WipedBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        WipedBuffer(bytes)
    }
}

/// Derefs to a slice, since the methods of `Vec` leave copies behind.
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
        // Resizing to the capacity allocates nothing.
        self.0.resize(self.0.capacity(), 0);
        zeroize::optimization_barrier(self.0.as_slice());
    }
}

/// Overwrites the stack below the caller, which earlier calls used: a record that is moved later
/// carries the bytes of its absent parts along, and no piece of a key with them.
pub(crate) fn clear_stack() {
    clear::<{ if HAS_SYSTEM { 2048 } else { 128 } }>();
}

/// Overwrites the stack below the caller as deep as the ciphers of a wrap reach, which is 3 KiB.
pub(crate) fn clear_stack_of_wrap() {
    clear::<{ if HAS_SYSTEM { 512 } else { 128 } }>();
}

#[inline(never)]
fn clear<const WORDS: usize>() {
    // One fill: `Zeroize` writes an array word by word, with a barrier after each.
    let mut below = [0_u64; WORDS];
    // A local that can have been written is on the stack, and nowhere else.
    let written = &mut below;
    zeroize::optimization_barrier(&written);
}
