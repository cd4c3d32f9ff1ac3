//! Buffers for headers and slots, on the stack up to a length and else on the heap. Nothing in them is secret.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use crate::format::{MAX_SLOTS, Slot, Slots};
use alloc::vec;
use alloc::vec::Vec;

/// Longer headers, and more slots, go to the heap.
pub(in crate::envelope) const STACK_LEN: usize = 1024;

/// Zeroed bytes of a length known at run time.
pub(in crate::envelope) struct Scratch {
    stack: [u8; STACK_LEN],
    heap: Vec<u8>,
    len: usize,
}

impl Scratch {
    #[inline]
    pub(in crate::envelope) fn zeroed(len: usize) -> Self {
        let heap = if len > STACK_LEN { vec![0; len] } else { Vec::new() };
        Scratch { stack: [0; STACK_LEN], heap, len }
    }

    /// Changes the length. Neither zeroes nor keeps what was there.
    pub(in crate::envelope) fn set_len(&mut self, len: usize) -> &mut [u8] {
        self.heap = if len > STACK_LEN { vec![0; len] } else { Vec::new() };
        self.len = len;
        self.as_mut_bytes()
    }

    pub(in crate::envelope) fn as_bytes(&self) -> &[u8] {
        let stack = self.stack.get(..self.len);
        stack.unwrap_or(&self.heap)
    }

    pub(in crate::envelope) fn into_vec(self) -> Vec<u8> {
        if self.heap.is_empty() { self.as_bytes().to_vec() } else { self.heap }
    }

    pub(in crate::envelope) fn as_mut_bytes(&mut self) -> &mut [u8] {
        let stack = self.stack.get_mut(..self.len);
        stack.unwrap_or(&mut self.heap)
    }
}

/// The slots that a rewrap has made.
pub(in crate::envelope) struct NewSlots {
    bytes: Scratch,
    used: usize,
    /// The start of the new slot for each old one. Not an `Option`: optimised code reads its payload before
    /// its tag, which memcheck reports in the test of constant time.
    starts: [usize; MAX_SLOTS],
}

/// Where no slot begins.
const NOWHERE: usize = usize::MAX;

impl NewSlots {
    #[inline]
    pub(in crate::envelope) fn new() -> Self {
        NewSlots { bytes: Scratch::zeroed(STACK_LEN), used: 0, starts: [NOWHERE; MAX_SLOTS] }
    }

    /// Returns the room for the next slot.
    pub(in crate::envelope) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut_bytes()[self.used..]
    }

    /// Makes room for a slot of `len` bytes.
    pub(in crate::envelope) fn grow(&mut self, len: usize) {
        let mut larger = Scratch::zeroed(self.used + len);
        let kept = larger.as_mut_bytes().iter_mut().zip(self.bytes.as_bytes());
        kept.take(self.used).for_each(|(new, old)| *new = *old);
        self.bytes = larger;
    }

    /// Counts the slot that was written to the room, and returns its start.
    pub(in crate::envelope) fn take(&mut self) -> usize {
        let start = self.used;
        #[expect(clippy::expect_used, reason = "it is called once a slot was written")]
        let slot = self.get(start).expect("the slot that was written");
        self.used = start + slot.encoded_len();
        start
    }

    /// Returns the slot that begins there.
    pub(in crate::envelope) fn get(&self, start: usize) -> Option<Slot<'_>> {
        Slots::new(self.bytes.as_bytes().get(start..)?, 1).next()
    }

    /// Replaces slot `index` by the slot that begins there.
    pub(in crate::envelope) fn keep(&mut self, index: usize, start: usize) {
        if let Some(entry) = self.starts.get_mut(index) {
            *entry = start;
        }
    }

    /// Returns the slot that replaces slot `index`.
    pub(in crate::envelope) fn of(&self, index: usize) -> Option<Slot<'_>> {
        self.get(*self.starts.get(index)?)
    }
}
