//! An allocator that records the blocks of key schedules, so that one whose owner never exposes it
//! can be marked secret.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The block that a keyring boxes for each master key: schedule and K1 of XAES-256-GCM. No other block
/// has this layout.
const KEY_SCHEDULE: Layout = Layout::new::<(aes::Aes256Enc, [u8; 16])>();

static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Remembering;

// SAFETY: every call is passed on to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { System.alloc(layout) };
        if layout == KEY_SCHEDULE {
            ADDRESS.store(block as usize, Relaxed);
            LEN.store(layout.size(), Relaxed);
            COUNT.fetch_add(1, Relaxed);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

/// Runs `make`, which sets up one key, and returns its block's address and length.
pub fn key_schedule_of<T>(make: impl FnOnce() -> T) -> (T, usize, usize) {
    COUNT.store(0, Relaxed);
    let made = make();
    assert_eq!(COUNT.load(Relaxed), 1, "one key schedule is expected");
    (made, ADDRESS.load(Relaxed), LEN.load(Relaxed))
}
