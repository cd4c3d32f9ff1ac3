//! Many threads, one key: one call, whatever comes of it.

use super::clock::FakeClock;
use super::combine::{PLAINTEXT, ROW, Said, Scripted, version};
use super::{backend, messages};
use envelock::{
    CachingKeyring, DataKey, Envelope, Keyring, Lifecycle, SlotLabel,
    format::Slot,
    keyring::{
        CachingOptions, Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter,
        WrapContext,
    },
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

const THREADS: usize = 16;

/// A backend whose `unwrap` waits until it is let go, and then can panic.
struct Gated {
    inner: Arc<Scripted>,
    open: Mutex<bool>,
    opened: Condvar,
    /// Version whose unwraps wait.
    waits_for: u32,
    panics: AtomicBool,
    within: AtomicUsize,
}

impl Gated {
    fn new() -> Self {
        let (inner, open) = (backend(), Mutex::new(false));
        let (opened, panics, within) = Default::default();
        Gated { inner, open, opened, waits_for: 1, panics, within }
    }

    fn let_go(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Keyring for Gated {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.inner.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.inner.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        if slot.label.version.number() == self.waits_for {
            self.within.fetch_add(1, SeqCst);
            let mut open = self.open.lock().unwrap();
            while !*open {
                open = self.opened.wait(open).unwrap();
            }
            drop(open);
            if self.panics.swap(false, SeqCst) {
                panic!("on purpose");
            }
        }
        self.inner.unwrap(slot, context, data_key)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.inner.freshness(label)
    }
}

type Outcome = thread::Result<Result<Vec<u8>, envelock::Error>>;

/// Has 16 threads decrypt `message` at once: one is within the backend and 15 wait for it when
/// `then` runs and lets it go.
fn stampede(cache: &CachingKeyring<Gated>, message: &[u8], then: impl FnOnce()) -> Vec<Outcome> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let decrypt = || Envelope::new(cache).decrypt(message, ROW);
                    catch_unwind(AssertUnwindSafe(decrypt))
                })
            })
            .collect();
        while cache.stats().waits < THREADS as u64 - 1 {
            thread::yield_now();
        }
        assert_eq!(cache.inner().within.load(SeqCst), 1);
        then();
        cache.inner().let_go();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn threads_that_miss_the_same_key_cause_one_call() {
    for capacity in [1000, 0] {
        let clock = FakeClock::default();
        let options = CachingOptions::new().capacity(capacity);
        let cache = CachingKeyring::with_options(Gated::new(), options).with_clock(clock.reader());
        let message = &messages(&cache.inner().inner, 1)[0];
        for outcome in stampede(&cache, message, || ()) {
            assert_eq!(outcome.unwrap().unwrap(), PLAINTEXT);
        }
        assert_eq!(cache.inner().inner.calls(), (0, 1));
        let stats = cache.stats();
        assert_eq!((stats.misses, stats.hits, stats.waits), (1, 15, 15));
    }
}

#[test]
fn failure_reaches_all_waiting_and_none_later() {
    for said in Said::ALL {
        let clock = FakeClock::default();
        let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
            .with_clock(clock.reader());
        let inner = cache.inner().inner.clone();
        let message = &messages(&inner, 1)[0];
        inner.set(|script| script.unwrap = Some(said.error()));
        for outcome in stampede(&cache, message, || ()) {
            assert_eq!(Said::of(&outcome.unwrap().unwrap_err()), said);
        }
        assert_eq!(inner.calls(), (0, 1));
        inner.set(|script| script.unwrap = None);
        assert_eq!(Envelope::new(&cache).decrypt(message, ROW).unwrap(), PLAINTEXT);
        assert_eq!(inner.calls(), (0, 1));
    }
}

/// One thread panics, as it would without a cache; one of the others calls again, for all.
#[test]
fn panic_of_backend_leaves_no_waiter() {
    let clock = FakeClock::default();
    let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
        .with_clock(clock.reader());
    let message = &messages(&cache.inner().inner, 1)[0];
    cache.inner().panics.store(true, SeqCst);
    let outcomes = stampede(&cache, message, || ());
    let panics = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(panics, 1);
    for outcome in outcomes.into_iter().filter_map(Result::ok) {
        assert_eq!(outcome.unwrap(), PLAINTEXT);
    }
    assert_eq!(cache.inner().inner.calls(), (0, 1));
    assert_eq!(cache.len(), 1);
}

/// A thread that waited checks the state again, since the wait may have been long.
#[test]
fn disable_during_wait_reaches_the_waiters() {
    let clock = FakeClock::default();
    let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
        .with_clock(clock.reader());
    let inner = cache.inner().inner.clone();
    let message = &messages(&inner, 1)[0];
    inner.ring.rotate().unwrap();
    let disable = || drop(inner.ring.disable(version(1)).unwrap());
    for outcome in stampede(&cache, message, disable) {
        let error = outcome.unwrap().unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(Refusal::Disabled));
    }
    assert!(cache.is_empty());
}

/// As those above, but what is disabled is learnt from `freshness` alone; the key has arrived.
#[test]
fn key_after_disable_is_served_to_no_waiter() {
    let clock = FakeClock::default();
    let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
        .with_clock(clock.reader());
    let inner = cache.inner().inner.clone();
    let message = &messages(&inner, 1)[0];
    let refused = Freshness::Refused(Refusal::Disabled);
    stampede(&cache, message, || inner.set(|script| script.freshness = Some(refused)));
    assert_eq!(cache.stats().hits, 0);
}

#[test]
fn result_of_a_call_before_purge_is_not_kept() {
    let clock = FakeClock::default();
    let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
        .with_clock(clock.reader());
    let message = &messages(&cache.inner().inner, 1)[0];
    for outcome in stampede(&cache, message, || cache.purge()) {
        assert_eq!(outcome.unwrap().unwrap(), PLAINTEXT);
    }
    assert!(cache.is_empty());
}

/// No lock is locked across a call: while one key's back end hangs, others are served, cold and
/// warm, and the cache reports its statistics.
#[test]
fn call_that_hangs_stops_nothing_else() {
    let clock = FakeClock::default();
    let cache = CachingKeyring::with_options(Gated::new(), CachingOptions::new())
        .with_clock(clock.reader());
    let inner = &cache.inner().inner;
    let hangs = &messages(inner, 1)[0];
    inner.ring.rotate().unwrap();
    let others = messages(inner, 2);
    thread::scope(|scope| {
        let hanging = scope.spawn(|| Envelope::new(&cache).decrypt(hangs, ROW));
        while cache.inner().within.load(SeqCst) == 0 {
            thread::yield_now();
        }
        let envelope = Envelope::new(&cache);
        for message in others.iter().chain(&others) {
            assert_eq!(envelope.decrypt(message, ROW).unwrap(), PLAINTEXT);
        }
        for _ in 0..3 {
            envelope.encrypt(PLAINTEXT, ROW).unwrap();
        }
        cache.purge();
        assert!(cache.is_empty());
        cache.inner().let_go();
        assert_eq!(hanging.join().unwrap().unwrap(), PLAINTEXT);
    });
}

/// Seeds 0 to 7: threads read, rotate, disable and purge at will; whatever opens is right, and
/// once all is quiet a disabled version opens nothing.
#[test]
fn threads_at_will_get_right_keys_or_exact_refusals() {
    for seed in 0..8_u64 {
        let clock = FakeClock::default();
        let options = CachingOptions::new().capacity(5);
        let cache = CachingKeyring::with_options(backend(), options).with_clock(clock.reader());
        let reuse = Arc::new(envelock::DataKeyReuse::new(7, 1000, super::MINUTE));
        let known = Mutex::new(messages(cache.inner(), 4));
        thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (cache, known, clock, reuse) = (&cache, &known, &clock, &reuse);
                scope.spawn(move || {
                    let mut state = seed * 4 + worker + 1;
                    for _ in 0..300 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                        let choice = state >> 33;
                        match choice % 16 {
                            0 => drop(cache.inner().ring.rotate()),
                            1 => drop(cache.inner().ring.disable(version(1))),
                            2 => drop(cache.inner().ring.enable(version(1))),
                            3 => cache.purge(),
                            4 => clock.advance(super::MINUTE / 7),
                            5 | 6 => {
                                let envelope =
                                    Envelope::new(cache).with_data_key_reuse(reuse.clone());
                                let message = envelope.encrypt(PLAINTEXT, ROW);
                                known.lock().unwrap().push(message.unwrap());
                            }
                            _ => {
                                let message = {
                                    let known = known.lock().unwrap();
                                    known[choice as usize / 16 % known.len()].clone()
                                };
                                match Envelope::new(cache).decrypt(&message, ROW) {
                                    Ok(plain) => assert_eq!(plain, PLAINTEXT),
                                    Err(error) => assert_eq!(
                                        Said::of(&error),
                                        Said::Refused(Refusal::Disabled),
                                        "seed {seed}"
                                    ),
                                }
                            }
                        }
                    }
                });
            }
        });
        let ring = &cache.inner().ring;
        let _ = ring.rotate();
        let _ = ring.disable(version(1));
        for message in known.into_inner().unwrap() {
            let expected = Envelope::new(ring).decrypt(&message, ROW);
            let answer = Envelope::new(&cache).decrypt(&message, ROW);
            assert_eq!(format!("{answer:?}"), format!("{expected:?}"), "seed {seed}");
        }
    }
}
