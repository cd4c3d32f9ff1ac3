//! The allocator that searches what is freed, and the masked pieces of key it searches for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Pieces are kept under this mask, so that the table does not find itself.
const MASK: u64 = 0xC3A5_C85C_97CB_3127;

/// The inner and outer pads of HMAC, which a key meets byte by byte.
const PADS: [u64; 3] = [0, 0x3636_3636_3636_3636, 0x5C5C_5C5C_5C5C_5C5C];

const SLOTS: usize = 1 << 21;
const FILTER_WORDS: usize = 1 << 18;

static PIECES: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
static FILTER: [AtomicU64; FILTER_WORDS] = [const { AtomicU64::new(0) }; FILTER_WORDS];
static REGISTERED: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static PADDED_SIZE: AtomicUsize = AtomicUsize::new(usize::MAX);
static PADDING: AtomicUsize = AtomicUsize::new(0);
static PADDING_HITS: AtomicUsize = AtomicUsize::new(0);
static HITS: AtomicUsize = AtomicUsize::new(0);
static HIT_SIZES: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

fn hash(masked: u64) -> u64 {
    masked.wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> 20
}

fn filter_bit(hash: u64) -> (usize, u64) {
    let bit = hash as usize % (FILTER_WORDS * 64);
    (bit / 64, 1 << (bit % 64))
}

/// Adds eight bytes of a key, plain and padded, to what is searched for.
pub fn register(piece: u64) {
    for pad in PADS {
        insert(piece ^ pad ^ MASK);
    }
    REGISTERED.fetch_add(1, Relaxed);
}

fn insert(masked: u64) {
    let hash = hash(masked);
    let (word, bit) = filter_bit(hash);
    FILTER[word].fetch_or(bit, Relaxed);
    for probe in 0..SLOTS {
        let slot = &PIECES[(hash as usize + probe) % SLOTS];
        match slot.load(Relaxed) {
            0 => return slot.store(masked, Relaxed),
            there if there == masked => return,
            _ => {}
        }
    }
    panic!("no room for another piece");
}

fn contains(value: u64) -> bool {
    let masked = value ^ MASK;
    let hash = hash(masked);
    let (word, bit) = filter_bit(hash);
    if FILTER[word].load(Relaxed) & bit == 0 {
        return false;
    }
    let mut probe = hash as usize;
    loop {
        match PIECES[probe % SLOTS].load(Relaxed) {
            0 => return false,
            there if there == masked => return true,
            _ => probe += 1,
        }
    }
}

/// How many pieces of key stand in `len` bytes, at any alignment; `byte` reads one.
pub fn count(len: usize, byte: impl Fn(usize) -> u8) -> usize {
    let mut window = 0_u64;
    let mut hits = 0;
    for index in 0..len {
        window = (window >> 8) | (u64::from(byte(index)) << 56);
        hits += usize::from(index >= 7 && contains(window));
    }
    hits
}

/// Counts hits in the padding of blocks of the size of `value` separately: a move copies the padding of a type
/// from the stack, and safe code cannot wipe it. Padding is shorter than the alignment of the type.
pub fn expect_padding<T>(value: &T) {
    PADDING.store(align_of_val(value) - 1, Relaxed);
    PADDED_SIZE.store(size_of_val(value), Relaxed);
}

pub fn padding_hits() -> usize {
    PADDING_HITS.load(Relaxed)
}

struct Spy;

// SAFETY: every call is passed on to the system's allocator, with the layout it came with.
unsafe impl GlobalAlloc for Spy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that every byte of a block is initialised when it is searched.
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is still the caller's, has `layout.size()` bytes, and all of them are
        // initialised, since `alloc` zeroes. Volatile, so that no write before it is left out.
        let byte = |index| unsafe { block.add(index).read_volatile() };
        let all = count(layout.size(), byte);
        let padded = layout.size() == PADDED_SIZE.load(Relaxed);
        let hits = if padded { count(layout.size() - PADDING.load(Relaxed), byte) } else { all };
        PADDING_HITS.fetch_add(all - hits, Relaxed);
        BLOCKS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        if hits > 0 {
            let hit = HITS.fetch_add(1, Relaxed);
            HIT_SIZES[hit % HIT_SIZES.len()].store(layout.size(), Relaxed);
        }
        if all > 0 {
            // Reported, so that the search at the end need not report it again.
            // SAFETY: as above; the block is not freed yet.
            (0..layout.size()).for_each(|index| unsafe { block.add(index).write_volatile(0) });
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` is the trait's own: allocate, copy, free; so what a growing vector leaves behind
    // is searched too.
}

#[global_allocator]
static SPY: Spy = Spy;

/// Sizes of the freed blocks that contained a key, sixteen at the most.
pub fn hits() -> Vec<usize> {
    let hits = HITS.load(Relaxed).min(HIT_SIZES.len());
    HIT_SIZES[..hits].iter().map(|size| size.load(Relaxed)).collect()
}

pub fn forget_hits() {
    HITS.store(0, Relaxed);
}

pub fn registered() -> usize {
    REGISTERED.load(Relaxed)
}

pub fn blocks_freed() -> usize {
    BLOCKS.load(Relaxed)
}

pub fn bytes_freed() -> usize {
    BYTES.load(Relaxed)
}
