//! An observer costs no memory but its own.

use crate::common::detached::WriteDetached;
use envelock::{
    Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring, RewrapOptions,
    observe::{Event, FnObserver, ObservedKeyring},
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts per thread, so that tests can run side by side.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator with the arguments it came with; the
// provided `alloc_zeroed` and `realloc` call these.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is being torn down has no count any more, and nothing to measure.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `operation` allocates.
fn allocations<T>(operation: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    let result = operation();
    let after = COUNT.get();
    drop(result);
    after - before
}

/// Encrypts, rewraps, decrypts, and is refused, all in place.
fn use_in_place(keyring: &impl Lifecycle) -> usize {
    let envelope = Envelope::new(keyring);
    let mut message = vec![9; envelope.message_len(64).unwrap()];
    let mut opened = [0; 64];
    let range = envelope.plaintext_range(64).unwrap();
    let mut count = 0;
    count += allocations(|| envelope.encrypt_in_place(&mut message, range, Aad::none()).unwrap());
    keyring.rotate().unwrap();
    let options = RewrapOptions::new().retiring("orders", KeyVersion::FIRST);
    count += allocations(|| envelope.rewrap_in_place(&mut message, options).unwrap().is_changed());
    count += allocations(|| envelope.decrypt_into(&message, Aad::none(), &mut opened).unwrap());
    assert_eq!(opened, [9; 64]);
    count
}

#[test]
fn nothing_is_allocated_for_an_event() {
    assert_eq!(allocations(|| vec![1_u8; 1000]), 1);
    let ring = || MemoryKeyring::create("orders").unwrap();
    assert_eq!(use_in_place(&ring()), 0);
    assert_eq!(use_in_place(&ObservedKeyring::new(ring(), ())), 0);
    let events = AtomicUsize::new(0);
    let observer = FnObserver::new(|_: &Event<'_>| {
        events.fetch_add(1, Relaxed);
    });
    assert_eq!(use_in_place(&ObservedKeyring::new(ring(), (&observer, ()))), 0);
    // A wrap; added, two states, rotated; unwrap, wrap, proof; unwrap.
    assert_eq!(events.into_inner(), 1 + 4 + 3 + 1);
}

#[test]
fn observer_that_sees_nothing_takes_no_room() {
    assert_eq!(size_of::<ObservedKeyring<MemoryKeyring, ()>>(), size_of::<MemoryKeyring>());
}
