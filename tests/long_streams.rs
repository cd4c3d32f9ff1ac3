//! Streams longer than memory should be: 256 MiB from end to end, ranges of the longest message that
//! there can be, and how much of the heap that takes.
//!
//! 4 GiB and a byte, about ten seconds in release, are left out unless asked for:
//!
//! ```text
//! cargo test --release --test long_streams -- --ignored --nocapture
//! ```
#![cfg(feature = "std")]

use envelock::rand_core::{Rng, SeedableRng};
use envelock::{Aad, Envelope, Error, MemoryKeyring, Suite, Threads, stream::ReadAt};
use envelock::{danger, format::layout};
use rand_chacha::ChaCha20Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

const AAD: Aad<'static> = Aad::new(b"long");

/// The heap that each test may use, beyond what was allocated before.
const HEAP_LIMIT: usize = 16 << 20;

/// Counts the bytes that all threads have allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn hold(len: usize) {
    PEAK.fetch_max(ALLOCATED.fetch_add(len, Relaxed) + len, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures what the heap holds at most; one measurement at a time.
struct Heap {
    before: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Heap {
    fn watch() -> Heap {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = ALLOCATED.load(Relaxed);
        PEAK.store(before, Relaxed);
        Heap { before, _alone: alone }
    }

    fn check(self, what: &str) {
        let peak = PEAK.load(Relaxed) - self.before;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find(|line| line.starts_with("VmHWM"));
        println!("{what}: at most {} KiB of heap; {}", peak >> 10, resident.unwrap_or("VmHWM: ?"));
        assert!(peak <= HEAP_LIMIT, "{what}: {peak} bytes of heap");
    }
}

fn envelope() -> Envelope<MemoryKeyring> {
    Envelope::new(MemoryKeyring::create("videos").unwrap())
}

/// The plaintext from byte `at` on: a counter, so that no chunk is like another.
fn fill(at: u64, out: &mut [u8]) {
    let word = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let skip = (at % 8) as usize;
    let head = ((8 - skip) % 8).min(out.len());
    let (head, words) = out.split_at_mut(head);
    head.copy_from_slice(&word(at / 8)[skip..][..head.len()]);
    for (index, piece) in (at.div_ceil(8)..).zip(words.chunks_mut(8)) {
        piece.copy_from_slice(&word(index)[..piece.len()]);
    }
}

/// Whether the plaintext has these bytes at `at`; `room` is as long.
fn is_plaintext(at: u64, bytes: &[u8], room: &mut [u8]) -> bool {
    let room = &mut room[..bytes.len()];
    fill(at, room);
    room == bytes
}

/// Through a pipe: one thread encrypts what it makes up, this one compares what it decrypts.
fn through_a_pipe(envelope: &Envelope<MemoryKeyring>, len: u64, what: &str) {
    let heap = Heap::watch();
    let (receiver, sender) = io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = envelope.encrypt_writer(sender, AAD).unwrap();
            let mut piece = vec![0; 100_003];
            let mut at = 0;
            while at < len {
                let step = (len - at).min(piece.len() as u64) as usize;
                fill(at, &mut piece[..step]);
                writer.write_all(&piece[..step]).unwrap();
                at += step as u64;
            }
            writer.finish().unwrap();
        });
        let mut reader = envelope.decrypt_reader(receiver, AAD).unwrap();
        let (mut piece, mut room) = (vec![0; 150_001], vec![0; 150_001]);
        let mut at = 0;
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => break,
                read => {
                    assert!(is_plaintext(at, &piece[..read], &mut room), "at {at}");
                    at += read as u64;
                }
            }
        }
        assert_eq!(at, len);
    });
    heap.check(what);
}

#[test]
fn quarter_of_gibibyte_goes_through_in_little_memory() {
    through_a_pipe(&envelope(), 256 << 20, "256 MiB");
}

#[test]
fn quarter_of_gibibyte_by_two_threads_takes_little_memory() {
    let envelope = envelope().with_threads(Threads::new(2));
    through_a_pipe(&envelope, (256 << 20) + 1, "256 MiB on two threads");
}

#[test]
#[ignore = "4 GiB and a byte: see the head of this file"]
fn four_gibibytes_and_a_byte_go_through() {
    through_a_pipe(&envelope(), (4 << 30) + 1, "4 GiB");
    let envelope = envelope().with_threads(Threads::new(2));
    through_a_pipe(&envelope, (4 << 30) + 1, "4 GiB on two threads");
}

/// A message that is nowhere: each chunk is encrypted when it is read.
struct Virtual {
    /// The header, and the first 56 bytes of the body.
    start: Vec<u8>,
    chunks: danger::ChunkEncryptor,
    plaintext_len: u64,
    chunks_read: AtomicUsize,
}

impl Virtual {
    fn new(envelope: &Envelope<MemoryKeyring>, plaintext_len: u64) -> Virtual {
        let seeded = || ChaCha20Rng::seed_from_u64(9);
        // The data key is what an encryption draws first.
        let mut data_key = [0; 32];
        seeded().fill_bytes(&mut data_key);
        let message = envelope.with_rng(&mut seeded()).encrypt(b"", AAD).unwrap();
        let start = message[..message.len() - layout::TAG_LEN].to_vec();
        let salt = start[start.len() - layout::PREFIX_LEN..].first_chunk().unwrap();
        let context = [&message[..22], AAD.as_bytes()].concat();
        let suite = Suite::Cobblestone256;
        let chunks = danger::chunk_encryptor(suite, &data_key, salt, &context).unwrap();
        assert!(start.ends_with(chunks.prefix()));
        Virtual { start, chunks, plaintext_len, chunks_read: AtomicUsize::new(0) }
    }

    fn chunk(&self, index: u64) -> Vec<u8> {
        self.chunks_read.fetch_add(1, Relaxed);
        let at = index * layout::CHUNK_LEN as u64;
        let len = (self.plaintext_len - at).min(layout::CHUNK_LEN as u64);
        let mut chunk = vec![0; len as usize];
        fill(at, &mut chunk);
        let tag = self.chunks.encrypt_in_place(index, &mut chunk).unwrap();
        chunk.extend(tag);
        chunk
    }
}

impl ReadAt for Virtual {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = self.start.len() as u64;
        if offset < start {
            return (&self.start[offset as usize..]).read(out);
        }
        if offset >= self.size()? {
            return Ok(0);
        }
        let encrypted = layout::ENCRYPTED_CHUNK_LEN as u64;
        let (index, at) = ((offset - start) / encrypted, (offset - start) % encrypted);
        (&self.chunk(index)[at as usize..]).read(out)
    }

    fn size(&self) -> io::Result<u64> {
        let body = layout::body_len(self.plaintext_len).map_err(io::Error::from)?;
        Ok((self.start.len() - layout::PREFIX_LEN) as u64 + body)
    }
}

/// Up to the last byte of the longest message: no offset is cut to 32 bits, or to a float's 53.
#[test]
fn any_part_of_messages_up_to_the_longest_can_be_read() {
    let heap = Heap::watch();
    let envelope = envelope();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let lens = [1 << 30, u64::from(u32::MAX) + 2, 1 << 45, layout::MAX_PLAINTEXT_LEN];
    for len in lens {
        let message = Virtual::new(&envelope, len);
        let mut reader = envelope.range_reader(&message, AAD).unwrap().into_seek_reader();
        assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), len);
        assert_eq!(message.chunks_read.load(Relaxed), 1, "the end is one chunk");
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
        let (mut piece, mut room) = (vec![0; 50_000], vec![0; 50_000]);
        let places = [0, u64::from(u32::MAX) - 20_000, len.saturating_sub(25_000)];
        for at in places.into_iter().chain((0..40).map(|_| rng.next_u64() % len)) {
            if at >= len {
                continue;
            }
            let before = message.chunks_read.load(Relaxed);
            reader.seek(SeekFrom::Start(at)).unwrap();
            let wanted = (len - at).min(50_000) as usize;
            reader.read_exact(&mut piece[..wanted]).unwrap();
            assert!(is_plaintext(at, &piece[..wanted], &mut room), "{wanted} bytes at {at}");
            // The chunks that contain it: of 50,000 bytes at most five.
            assert!(message.chunks_read.load(Relaxed) - before <= 5);
        }
        reader.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(reader.read(&mut piece).unwrap(), 1);
        assert!(is_plaintext(len - 1, &piece[..1], &mut room));

        // A length that is a chunk off is no length.
        if len < layout::MAX_PLAINTEXT_LEN {
            let longer = Virtual { plaintext_len: len + 16_384, ..Virtual::new(&envelope, len) };
            let claimed = Claimed { message, len: longer.size().unwrap() };
            let reader = envelope.range_reader(claimed, AAD).unwrap();
            assert!(matches!(reader.len(), Err(Error::Authentication { .. })));
        }
    }
    heap.check("ranges of up to 4 PiB");
}

/// A message, and another length than it has: what is beyond its end repeats it.
struct Claimed {
    message: Virtual,
    len: u64,
}

impl ReadAt for Claimed {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.message.read_at(out, offset)? {
            0 => self.message.read_at(out, offset % self.message.size()?),
            len => Ok(len),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// SPEC B-MAX, B-LENGTH: by its length alone, before any chunk is read.
#[test]
fn no_message_is_longer_than_the_longest() {
    let envelope = envelope();
    let refused = |more| {
        let message = Virtual::new(&envelope, layout::MAX_PLAINTEXT_LEN);
        let len = message.size().unwrap() + more;
        envelope.range_reader(Claimed { message, len }, AAD).unwrap_err()
    };
    // The last chunk is full, then one behind it has no tag, then an empty one would have its own.
    for more in [1, 16] {
        assert!(matches!(refused(more), Error::Truncated { .. }));
    }
    assert!(matches!(refused(17), Error::MessageTooLong));
}
