//! Tests that no data key outlives its entry in a cache: evicted, expired, used up, purged or
//! dropped, its block is wiped before it is freed (THREATS 47).

#![allow(dead_code, reason = "the spy is shared with residue.rs")]

#[path = "residue/memory.rs"]
mod memory;
#[path = "residue/spy.rs"]
mod spy;

use envelock::rand_core::{TryCryptoRng, TryRng};
use envelock::{
    Aad, CachingKeyring, DataKeyReuse, Envelope, MemoryKeyring, Suite, keyring::CachingOptions,
};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A generator whose state does not hold what it gave out.
#[derive(Clone)]
struct Source(u64);

impl Source {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 27)
    }
}

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.word() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&self.word().to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Source {}

#[derive(Default)]
struct Ticks(Mutex<Duration>);

impl Ticks {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn reader(clock: &Arc<Ticks>) -> impl Fn() -> Duration + Send + Sync + use<> {
    let clock = clock.clone();
    move || clock.now()
}

const MINUTE: Duration = Duration::from_secs(60);
const AAD: Aad<'static> = Aad::new(b"row");

struct Cache<'c> {
    keyring: CachingKeyring<&'c MemoryKeyring>,
    reuse: Arc<DataKeyReuse>,
}

impl Cache<'_> {
    fn purge(&self) {
        self.keyring.purge();
        self.reuse.purge();
    }
}

/// Encrypts a message and registers its data key, if it is a new one.
fn encrypt(cache: &Cache<'_>, suite: Suite, len: usize, source: &mut Source) -> Vec<u8> {
    let mut ahead = source.clone();
    let reused = cache.reuse.stats().reused;
    let envelope = Envelope::new(&cache.keyring).with_suite(suite);
    let envelope = envelope.with_data_key_reuse(cache.reuse.clone());
    let message = envelope.with_rng(source).encrypt(&vec![0; len], AAD).unwrap();
    if cache.reuse.stats().reused == reused {
        (0..suite.data_key_len() / 8).for_each(|_| spy::register(ahead.word()));
    }
    message
}

/// Fills a cache of three keys beyond its room and its batches to their end, then runs `end`:
/// no block that was freed holds a key, and no other does unless keys are `left` in the cache.
fn check(name: &str, left: bool, end: impl FnOnce(&Cache<'_>, &Ticks)) {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let clock = Arc::<Ticks>::default();
    let options = CachingOptions::new().capacity(3);
    let reuse = DataKeyReuse::new(4, 1000, MINUTE).with_clock(reader(&clock));
    let cache = Cache {
        keyring: CachingKeyring::with_options(&keyring, options).with_clock(reader(&clock)),
        reuse: Arc::new(reuse),
    };
    let mut source = Source(name.len() as u64);
    for &suite in Suite::ALL {
        for _ in 0..6 {
            let message = encrypt(&cache, suite, 100, &mut source);
            for _ in 0..2 {
                Envelope::new(&cache.keyring).decrypt(&message, AAD).unwrap();
            }
        }
    }
    let suites = Suite::ALL.len() as u64;
    let counts = (cache.keyring.stats().evictions, cache.reuse.stats().reused);
    assert_eq!(counts, (2 * suites - 3, 4 * suites));
    end(&cache, &clock);
    assert_eq!(spy::hits(), [0_usize; 0], "{name}: sizes of freed blocks with keys");
    assert_eq!(memory::scan().heap_hits > 0, left, "{name}: keys on the heap");
    drop(cache);
    assert_eq!(spy::hits(), [0_usize; 0], "{name}: dropped");
    assert_eq!(memory::scan().heap_hits, 0, "{name}: keys on the heap after all");
}

// One test alone: the spy sees the whole process.
#[test]
fn data_key_without_cache_entry_is_wiped() {
    check("evicted and used up", true, |_, _| ());
    check("purged", false, |cache, _| cache.purge());
    check("expired", false, |cache, clock| {
        *clock.0.lock().unwrap() = MINUTE;
        assert!(cache.keyring.is_empty() && cache.reuse.stats().wraps > 0);
    });
    check("used up to the last message", true, |cache, _| {
        let mut source = Source(77);
        cache.purge();
        (0..4).for_each(|_| drop(encrypt(cache, Suite::default(), 0, &mut source)));
        assert_eq!(memory::scan().heap_hits, 0, "a key that is used up is kept");
        encrypt(cache, Suite::default(), 0, &mut source);
    });
    println!("freed: {} blocks, {} bytes", spy::blocks_freed(), spy::bytes_freed());
}
