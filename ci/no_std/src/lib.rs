//! Links envelock's core without std: its own panic handler and allocator, its own randomness.
//!
//! A crate below that links std would bring a second panic handler, which the compiler refuses.
//! `roundtrip` is called by `main.c`, so that what links also runs.
#![no_std]

extern crate alloc;
#[cfg(feature = "std-dependency")]
extern crate getrandom;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::sync::atomic::{AtomicUsize, Ordering};
use envelock::rand_core::{TryCryptoRng, TryRng};
use envelock::{
    Aad, AadPairs, Envelope, Error, KeyVersion, MemoryKeyring, RewrapOptions, Suite, Timestamp,
    keyset::{Change, ChangeOptions, Operation},
};

const HEAP_LEN: usize = 1 << 20;

/// Hands out memory once and never takes it back.
struct Bump {
    heap: UnsafeCell<[u8; HEAP_LEN]>,
    used: AtomicUsize,
}

// SAFETY: a byte of the heap is handed out once only, by an atomic addition.
unsafe impl Sync for Bump {}

// SAFETY: every block lies within the heap, is aligned and overlaps no other.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let needed = layout.size() + layout.align();
        let start = self.used.fetch_add(needed, Ordering::Relaxed);
        if start + needed > HEAP_LEN {
            return core::ptr::null_mut();
        }
        let heap = self.heap.get().cast::<u8>();
        // SAFETY: start + align + size is within the heap.
        unsafe {
            let block = heap.add(start);
            block.add(block.align_offset(layout.align()))
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: Bump = Bump { heap: UnsafeCell::new([0; HEAP_LEN]), used: AtomicUsize::new(0) };

unsafe extern "C" {
    safe fn abort() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abort()
}

/// Named by the unwind tables of the precompiled `core`, and never called: panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// A generator for this test: a counter, no secret.
struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// Creates, encrypts, rotates, rewraps and decrypts with each suite; 0 if all went well.
#[unsafe(no_mangle)]
pub extern "C" fn roundtrip() -> i32 {
    Suite::ALL.iter().copied().position(|suite| !works(suite)).map_or(0, |index| index as i32 + 1)
}

fn works(suite: Suite) -> bool {
    run(suite, b"written without an operating system").unwrap_or(false)
}

fn run(suite: Suite, plaintext: &[u8]) -> Result<bool, Error> {
    let mut rng = Counter(7);
    let keyring = MemoryKeyring::create_with_rng("firmware", Timestamp::UNIX_EPOCH, &mut rng)?;
    let envelope = Envelope::new(&keyring).with_suite(suite);
    let aad = AadPairs::new().with("device", "42")?.to_bytes();
    let aad = Aad::new(&aad);

    let mut message = envelope.with_rng(&mut rng).encrypt(plaintext, aad)?;
    keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng)?;
    let stale = envelope.needs_rewrap(&message)?;
    let rewrapped = envelope.with_rng(&mut rng).rewrap(&message, RewrapOptions::new())?;
    rewrapped.write_over(&mut message)?;
    let (version, operation) = (KeyVersion::FIRST, Operation::Disable);
    let disable = Change::Version { key: "firmware", version, operation };
    keyring.change_with_rng(&[disable], &ChangeOptions::at(Timestamp::UNIX_EPOCH), &mut rng)?;
    let opened: Vec<u8> = {
        let key = envelope.open(&message)?;
        key.decrypt(key.body(&message)?, aad)?
    };
    let moved = envelope.decrypt(&message, Aad::none()).is_err();
    Ok(stale && moved && opened == plaintext && !envelope.needs_rewrap(&message)?)
}
