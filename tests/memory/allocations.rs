//! Tests what the crate allocates: nothing in the forms that promise it, little and bounded in
//! the others, and next to nothing before authentication for any hostile input (THREATS 33, 34
//! and 35; figure G9).

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::detached::Whole;
use crate::detached::{ReadDetached, WriteDetached};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Aad, AadPairs, Envelope, Error, KeyName, KeyVersion, Lifecycle, MemoryKeyring, OsRandom,
    RewrapOptions, Suite, body_len, danger,
    format::{MAGIC, MAX_KEY_NAME_LEN},
    inspect, plaintext_len,
};
use rand_chacha::ChaCha20Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Counts per thread, so that tests can run side by side.
struct Counting;

#[derive(Clone, Copy, Default)]
struct Tally {
    allocations: usize,
    /// Bytes allocated now; the thread may be below where it started.
    held: isize,
    peak: isize,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { allocations: 0, held: 0, peak: 0 }) };
}

fn record(bytes: isize) {
    // A thread that is being torn down has no tally any more, and nothing to measure.
    let _ = TALLY.try_with(|tally| {
        let mut now = tally.get();
        now.allocations += usize::from(bytes > 0);
        now.held += bytes;
        now.peak = now.peak.max(now.held);
        tally.set(now);
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(signed(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record(signed(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        record(-signed(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old block lives until the new one is filled.
        record(signed(size));
        record(-signed(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `operation` and returns how often it allocated, its peak, and its result.
pub fn measure<T>(operation: impl FnOnce() -> T) -> (usize, usize, T) {
    TALLY.set(Tally::default());
    let result = operation();
    let tally = TALLY.get();
    (tally.allocations, tally.peak.unsigned_abs(), result)
}

#[track_caller]
fn allocates_nothing<T>(what: &str, operation: impl FnOnce() -> Result<T, Error>) -> T {
    let (allocations, peak, result) = measure(operation);
    let result = result.unwrap();
    assert_eq!(allocations, 0, "{what} allocated {allocations} times, {peak} bytes at the most");
    result
}

const AAD: Aad<'static> = Aad::new(b"records/42");
const SIZES: [usize; 4] = [0, 64, 16_384, 3 * 16_384];

#[test]
fn counter_sees_an_allocation() {
    let (allocations, peak, _) = measure(|| std::hint::black_box(vec![0_u8; 1000]));
    assert_eq!((allocations, peak), (1, 1000));
}

/// One way to call the operations: with the system's generator, or with the caller's.
type InPlace<'a> = dyn FnMut(&Envelope<&MemoryKeyring>, &mut Buffers) + 'a;

/// All that the operations write to, allocated before anything is measured.
struct Buffers {
    plaintext: Vec<u8>,
    message: Vec<u8>,
    header: Vec<u8>,
    body: Vec<u8>,
}

fn with_os_random(envelope: &Envelope<&MemoryKeyring>, buffers: &mut Buffers) {
    let Buffers { plaintext, message, header, body } = buffers;
    let range = envelope.plaintext_range(plaintext.len()).unwrap();
    allocates_nothing("encrypt_in_place", || {
        envelope.encrypt_in_place(message, range.clone(), AAD)
    });
    allocates_nothing("encrypt_into", || envelope.encrypt_into(plaintext, AAD, message));
    allocates_nothing("encrypt_detached_in_place", || {
        envelope.encrypt_detached_in_place(header, body, plaintext.len(), AAD)
    });
    allocates_nothing("encrypt_detached_into", || {
        envelope.encrypt_detached_into(plaintext, AAD, header, body)
    });
    envelope.keyring().rotate().unwrap();
    let options = RewrapOptions::new().retiring("orders", KeyVersion::FIRST);
    let rewrapped =
        allocates_nothing("rewrap_in_place", || envelope.rewrap_in_place(message, options));
    assert!(rewrapped.is_changed());
}

fn with_callers_rng(envelope: &Envelope<&MemoryKeyring>, buffers: &mut Buffers) {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let Buffers { plaintext, message, header, body } = buffers;
    let envelope_rng = envelope.with_rng(&mut rng);
    let range = envelope.plaintext_range(plaintext.len()).unwrap();
    allocates_nothing("encrypt_in_place", || {
        envelope_rng.encrypt_in_place(message, range.clone(), AAD)
    });
    allocates_nothing("encrypt_into", || envelope_rng.encrypt_into(plaintext, AAD, message));
    allocates_nothing("encrypt_detached_in_place", || {
        envelope_rng.encrypt_detached_in_place(header, body, plaintext.len(), AAD)
    });
    allocates_nothing("encrypt_detached_into", || {
        envelope_rng.encrypt_detached_into(plaintext, AAD, header, body)
    });
    envelope.keyring().rotate().unwrap();
    let rewrapped = allocates_nothing("rewrap_in_place", || {
        envelope_rng.rewrap_in_place(message, RewrapOptions::new())
    });
    assert!(rewrapped.is_changed());
}

/// SPEC H-BOUND.
#[test]
fn in_place_and_into_forms_allocate_nothing() {
    let forms: [&mut InPlace<'_>; 2] = [&mut with_os_random, &mut with_callers_rng];
    for form in forms {
        for &suite in Suite::ALL {
            for size in SIZES {
                check_in_place_forms(form, suite, size, 0);
            }
        }
        // The longest header that a rewrap holds on the stack.
        let room = 1024 - (25 + 16 + "orders".len() + 72);
        check_in_place_forms(form, Suite::default(), 64, room);
    }
}

fn check_in_place_forms(form: &mut InPlace<'_>, suite: Suite, size: usize, reserved: usize) {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring).with_suite(suite).with_reserved(reserved);
    let mut buffers = Buffers {
        plaintext: vec![0x5A; size],
        message: vec![0x5A; envelope.message_len(size).unwrap()],
        header: vec![0; envelope.header_len().unwrap()],
        body: vec![0x5A; body_len(size).unwrap()],
    };
    form(&envelope, &mut buffers);
    let Buffers { plaintext, mut message, header, mut body } = buffers;

    let mut opened = vec![0; size];
    let parsed = allocates_nothing("inspect", || inspect(&message));
    assert_eq!(parsed.slots().len(), 1);
    assert!(!allocates_nothing("needs_rewrap", || envelope.needs_rewrap(&message)));
    assert!(allocates_nothing("needs_rewrap", || envelope.needs_rewrap(&header)));
    assert_eq!(allocates_nothing("plaintext_len", || plaintext_len(&message)), size);
    let key = envelope.open(&message).unwrap();
    allocates_nothing("opened key, decrypt_into", || {
        Whole(&key).decrypt_into(&message, AAD, &mut opened)
    });
    allocates_nothing("decrypt_into", || envelope.decrypt_into(&message, AAD, &mut opened));
    assert_eq!(opened, plaintext);
    let key = envelope.open(&header).unwrap();
    allocates_nothing("opened key, decrypt_into a body", || {
        key.decrypt_into(&body, AAD, &mut opened)
    });
    allocates_nothing("decrypt_in_place", || envelope.decrypt_in_place(&mut message, AAD));
    allocates_nothing("opened key, decrypt_in_place", || key.decrypt_in_place(&mut body, AAD));
}

#[test]
fn small_message_costs_no_memory_for_many_versions() {
    let mut peaks = Vec::new();
    for versions in [1, 1000] {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring);
        let plaintext = [9; 200 - (25 + 16 + 6 + 72) - 72];
        let oldest = envelope.encrypt(&plaintext, AAD).unwrap();
        assert_eq!(oldest.len(), 200);
        for _ in 1..versions {
            keyring.rotate().unwrap();
        }
        assert_eq!(keyring.versions().len(), versions);
        let newest = envelope.encrypt(&plaintext, AAD).unwrap();
        for message in [oldest, newest] {
            let (_, peak, opened) = measure(|| envelope.decrypt(&message, AAD).unwrap());
            let net = peak - opened.capacity();
            assert!(net <= 8 * 1024, "{net} bytes beyond the result with {versions} versions");
            peaks.push(net);
        }
    }
    assert!(peaks.iter().all(|peak| *peak == peaks[0]), "{peaks:?}");
    println!("decryption of 200 bytes holds {} bytes beyond its result", peaks[0]);
}

/// Drops what it is given, so that one call's error is not counted in the next one's peak.
fn ok<T>(result: Result<T, Error>) -> bool {
    result.is_ok()
}

/// Every entry point that takes foreign bytes, on `input`, whose first `cut` bytes serve as a
/// detached header. Returns how many accepted it.
fn feed(envelope: &Envelope<&MemoryKeyring>, input: &mut [u8], cut: usize) -> usize {
    let mut room = [0; 64];
    let room = &mut room[..input.len().saturating_sub(191).min(64)];
    let (header, body) = input.split_at(cut.min(input.len()));
    let options = RewrapOptions::new().retiring("orders", KeyVersion::FIRST);
    let accepted = [
        ok(inspect(input)),
        ok(plaintext_len(input)),
        ok(envelope.needs_rewrap(input)),
        ok(envelope.decrypt(input, AAD)),
        ok(envelope.decrypt_into(input, AAD, room)),
        ok(envelope.decrypt_detached(header, body, AAD)),
        ok(envelope.rewrap(input, options)),
        ok(AadPairs::from_bytes(input)),
        ok(danger::decrypt_body(Suite::default(), &[1; 32], &[], input)),
        ok(danger::chunk_decryptor(Suite::Cobblestone128, input, &[2; 56], &[])),
        ok(envelope.rewrap_in_place(input, options)),
        ok(envelope.decrypt_in_place(input, AAD)),
    ];
    accepted.iter().filter(|accepted| **accepted).count()
}

/// A message with fields at and beyond the limits of the format, cut or filled up at random.
fn hostile_message(rng: &mut ChaCha20Rng, valid: &[u8]) -> Vec<u8> {
    let mut message = valid.to_vec();
    let extremes = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];
    // Header length, slot count, version, algorithm, name length, wrapped key length.
    let fields = [4, 5, 22, 23, 24, 25, 28, 37, 38, 39, 40];
    for _ in 0..=rng.next_u32() % 4 {
        let field = fields[rng.next_u32() as usize % fields.len()];
        message[field] = extremes[rng.next_u32() as usize % extremes.len()];
    }
    if rng.next_u32().is_multiple_of(2) {
        // The declared bytes may even exist: zero bytes up to the longest header and beyond.
        message.resize(rng.next_u32() as usize % 80_000, 0);
    }
    if rng.next_u32().is_multiple_of(4) {
        message.truncate(rng.next_u32() as usize % message.len().max(1));
    }
    message
}

/// A header of the greatest length: sixteen slots of an unknown algorithm, or one.
fn largest_header(valid: &[u8], slots: u8, name_len: u8, wrapped_len: u16) -> Vec<u8> {
    let mut message = valid[..22].to_vec();
    message.extend([0xFF, 0xFF, slots]);
    for slot in 0..slots {
        message.extend([0, 0, 0, slot + 1, 0, 0, 0, 0, 0, 0, 0, 0, 200, name_len]);
        message.extend(wrapped_len.to_be_bytes());
        message.resize(message.len() + usize::from(name_len) + usize::from(wrapped_len), b'o');
    }
    message.resize(65_535, 0);
    message.extend(&valid[valid.len() - 81..]);
    message
}

/// SPEC H-BOUND, SPEC H-COUNT, SPEC H-WRAPLEN: what a header declares is not believed.
#[test]
fn hostile_input_allocates_nothing_unauthenticated() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let valid = envelope.encrypt(&[1; 9], AAD).unwrap();
    let mut rng = ChaCha20Rng::from_seed([34; 32]);
    let mut inputs: Vec<Vec<u8>> = vec![
        largest_header(&valid, 16, 255, 3000),
        largest_header(&valid, 16, 6, 4000),
        largest_header(&valid, 1, 255, 32_768),
        largest_header(&valid, 2, 255, 32_400),
        [b"envelock aad v1\0".as_slice(), &[0xFF; 64]].concat(),
        [b"envelock aad v1\0".as_slice(), &[0, 0, 0, 1], &[0xFF; 64]].concat(),
    ];
    let (mut most, mut opened) = (0, 0);
    for round in 0..10_000 {
        let mut input = inputs.pop().unwrap_or_else(|| hostile_message(&mut rng, &valid));
        // Where a slot opens, the result (a header, or the plaintext once the commitment is
        // verified) is allocated, and is no longer than the input.
        let opens = envelope.rewrap(&input, RewrapOptions::new()).is_ok();
        let ceiling = if opens { input.len() } else { 1024 };
        let cut = [119, 43, 65_535][round % 3];
        let (_, peak, _) = measure(|| feed(&envelope, &mut input, cut));
        assert!(peak <= ceiling, "{peak} bytes for an input of {} in round {round}", input.len());
        opened += usize::from(opens);
        most = most.max(if opens { 0 } else { peak });
    }
    assert!(opened < 2_000, "{opened} inputs were not hostile");
    println!("{} inputs without a slot that opens: at most {most} bytes held", 10_000 - opened);
}

/// SPEC H-MAGIC, SPEC H-LEN, SPEC B-LENGTH: too short is an error, never a panic.
#[test]
fn short_inputs_of_any_content_never_panic() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let valid = envelope.encrypt(&[], AAD).unwrap();
    let mut rng = ChaCha20Rng::from_seed([35; 32]);
    let (mut panics, mut accepted, mut inputs) = (0, 0, 0);
    for len in 0..=64_usize {
        for fill in 0..10_000_usize {
            let mut input = [0; 64];
            rng.fill_bytes(&mut input);
            // Random bytes go no further than the magic; half of the inputs start like a message,
            // by ever more bytes of it.
            if fill % 2 == 0 {
                let start = MAGIC.len() + fill / 2 % (60 - MAGIC.len());
                input[..start].copy_from_slice(&valid[..start]);
            }
            let input = &mut input[..len];
            let fed = catch_unwind(AssertUnwindSafe(|| feed(&envelope, input, 43)));
            panics += usize::from(fed.is_err());
            accepted += fed.unwrap_or_default();
            inputs += 1;
        }
    }
    assert_eq!((panics, accepted), (0, 0), "over {inputs} inputs");
}

#[test]
fn name_of_any_bytes_is_refused_without_memory() {
    let mut rng = ChaCha20Rng::from_seed([36; 32]);
    for len in 0..=MAX_KEY_NAME_LEN + 2 {
        let name: String = (0..len).map(|_| char::from(rng.next_u32() as u8 & 0x7F)).collect();
        let (allocations, _, result) = measure(|| KeyName::new(&name).is_ok());
        assert_eq!(allocations, 0);
        assert!(!result || (1..=MAX_KEY_NAME_LEN).contains(&len));
    }
    let mut os = OsRandom;
    assert!(
        MemoryKeyring::create_with_rng(&"x".repeat(65), envelock::Timestamp::UNIX_EPOCH, &mut os)
            .is_err()
    );
}
