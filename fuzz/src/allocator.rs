//! An allocator that ends the process when a call under watch asks for too much (THREATS row 34).

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts what is allocated, freed again or not. A target installs it with `#[global_allocator]`.
pub struct Counting;

/// Bytes that may still be allocated; `usize::MAX` while nothing is watched.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Most that any call may allocate before a message is authenticated.
pub const BEFORE_AUTHENTICATION: usize = 1 << 20;

/// Runs `call`, which may allocate `limit` bytes in all.
pub fn limit<T>(limit: usize, call: impl FnOnce() -> T) -> T {
    LEFT.store(limit, Relaxed);
    let result = call();
    LEFT.store(usize::MAX, Relaxed);
    result
}

fn spend(len: usize) {
    let left = LEFT.load(Relaxed);
    if left == usize::MAX {
        return;
    }
    if len > left {
        LEFT.store(usize::MAX, Relaxed);
        eprintln!("an allocation of {len} bytes, {left} are left under the limit");
        std::process::abort();
    }
    LEFT.store(left - len, Relaxed);
}

// SAFETY: every call goes to the system allocator unchanged; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        spend(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        spend(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        spend(new_size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
