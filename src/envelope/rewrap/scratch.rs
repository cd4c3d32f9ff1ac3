//! Room for a header or a slot while a rewrap builds it: on the stack, or where that is too
//! small, on the heap. Holds nothing secret.

use crate::format::{Slot, Slots};
use alloc::vec;
use alloc::vec::Vec;

/// Longer headers and slots go to the heap.
const STACK_LEN: usize = 1024;

/// Holds the slot of every algorithm of this crate, with the longest name.
const SLOT_LEN: usize = 512;

/// Zeroed bytes of a length known at run time.
pub(super) struct Scratch {
    stack: [u8; STACK_LEN],
    heap: Vec<u8>,
    len: usize,
}

impl Scratch {
    pub(super) fn zeroed(len: usize) -> Self {
        let heap = if len > STACK_LEN { vec![0; len] } else { Vec::new() };
        Scratch { stack: [0; STACK_LEN], heap, len }
    }

    /// Room for one slot of the usual size.
    pub(super) fn for_slot() -> Self {
        Scratch::zeroed(SLOT_LEN)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        let stack = self.stack.get(..self.len);
        stack.unwrap_or(&self.heap)
    }

    pub(super) fn as_mut_bytes(&mut self) -> &mut [u8] {
        let stack = self.stack.get_mut(..self.len);
        stack.unwrap_or(&mut self.heap)
    }

    /// The slot at its start.
    pub(super) fn slot(&self) -> Option<Slot<'_>> {
        Slots::new(self.as_bytes(), 1).next()
    }
}
