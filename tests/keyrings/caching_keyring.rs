//! A cache returns what the inner keyring would, only sooner: it opens nothing that this would
//! not, and a state that changes beneath counts from the next call on.

mod clock;
use crate::combine;
use crate::common::detached::WriteDetached;
mod reuse;
mod threads;

use clock::FakeClock;
use combine::{PLAINTEXT, ROW, Said, Scripted, down, ring, version};
use envelock::{
    CachingKeyring, Envelope, Error, Lifecycle, MigratingKeyring, MultiKeyring, RewrapOptions,
    Suite, inspect,
    keyring::{CachingOptions, Freshness, KeyringError, Refusal},
};
use std::sync::Arc;
use std::time::Duration;

type Cache = CachingKeyring<Arc<Scripted>>;

const NANO: Duration = Duration::from_nanos(1);
const MINUTE: Duration = Duration::from_secs(60);

fn backend() -> Arc<Scripted> {
    Scripted::new(ring("orders", 1))
}

fn cache(backend: &Arc<Scripted>, options: CachingOptions, clock: &FakeClock) -> Cache {
    CachingKeyring::with_options(backend.clone(), options).with_clock(clock.reader())
}

fn messages(backend: &Scripted, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| Envelope::new(&backend.ring).encrypt(PLAINTEXT, ROW).unwrap()).collect()
}

/// Opens `message` and returns how many calls of the backend that took.
fn calls(cache: &Cache, message: &[u8]) -> usize {
    cache.inner().calls();
    assert_eq!(Envelope::new(cache).decrypt(message, ROW).unwrap(), PLAINTEXT);
    let (wraps, unwraps) = cache.inner().calls();
    assert_eq!(wraps, 0);
    unwraps
}

#[test]
fn hit_calls_no_backend() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    for &suite in Suite::ALL {
        let message = Envelope::new(&cache).with_suite(suite).encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(backend.calls(), (1, 0));
        assert_eq!([(); 5].map(|()| calls(&cache, &message)), [1, 0, 0, 0, 0]);
        // A cached data key does not open a message with other associated data.
        let other = Envelope::new(&cache).decrypt(&message, envelock::Aad::none());
        assert!(matches!(other, Err(Error::Authentication { .. })));
    }
    let stats = cache.stats();
    let suites = Suite::ALL.len() as u64;
    assert_eq!((stats.hits, stats.misses, stats.evictions), (5 * suites, suites, 0));
    assert_eq!((stats.waits, cache.len()), (0, Suite::ALL.len()));
    cache.purge();
    assert!(cache.is_empty());
}

/// An entry found by the data key id alone, by label and id, or by the slot alone would open one
/// of these, or spare the backend a question that it must be asked.
#[test]
fn every_bit_of_core_and_slot_is_in_the_cache_key() {
    // Also beneath it a keyring whose freshness knows nothing, and takes every slot for its own.
    for freshness in [None, Some(Freshness::Stale)] {
        let (backend, clock) = (backend(), FakeClock::default());
        backend.set(|script| script.freshness = freshness);
        let cache = cache(&backend, CachingOptions::new(), &clock);
        let message = &messages(&backend, 1)[0];
        let header_len = inspect(message).unwrap().len();
        let (cached, uncached) = (Envelope::new(&cache), Envelope::new(&backend.ring));
        for bit in 0..header_len * 8 {
            assert_eq!(cached.decrypt(message, ROW).unwrap(), PLAINTEXT, "warm");
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = uncached.decrypt(&changed, ROW).unwrap_err();
            for _ in 0..2 {
                let error = cached.decrypt(&changed, ROW).unwrap_err();
                assert_eq!(format!("{error:?}"), format!("{expected:?}"), "bit {bit}");
            }
        }
        assert_eq!(cache.len(), 1, "something else is cached");
    }
}

#[test]
fn slot_before_another_core_goes_to_the_backend() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    let both = messages(&backend, 2);
    for message in &both {
        calls(&cache, message);
    }
    for (core, slot) in [(&both[0], &both[1]), (&both[1], &both[0])] {
        let spliced = [&core[..22], &slot[22..]].concat();
        backend.calls();
        let answer = Envelope::new(&cache).decrypt(&spliced, ROW);
        assert!(matches!(answer, Err(Error::Authentication { .. })));
        assert_eq!(backend.calls(), (0, 1));
    }
}

#[test]
fn change_of_state_counts_from_the_next_call_on() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    let envelope = Envelope::new(&cache);
    let message = &messages(&backend, 1)[0];
    backend.ring.rotate().unwrap();
    let refused = |expected: Refusal| {
        let error = envelope.decrypt(message, ROW).unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(expected));
        let error = envelope.rewrap(message, RewrapOptions::new()).unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(expected));
        assert!(cache.is_empty(), "a refused key is kept");
    };
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 0]);
    backend.ring.disable(version(1)).unwrap();
    refused(Refusal::Disabled);
    backend.ring.enable(version(1)).unwrap();
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 0]);
    // Compromised, it opens as before; on a strict keyring it does not.
    backend.set(|script| script.compromised = Some(1));
    assert_eq!(calls(&cache, message), 0);
    backend.set(|script| script.strict = true);
    refused(Refusal::Compromised);
    backend.set(|script| *script = Default::default());
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 0]);
}

/// 11 results of `unwrap` by 11 of `freshness`: a warm cache returns what a cold one returns.
#[test]
fn refusal_of_the_inner_keyring_is_passed_on() {
    for says in Said::ALL {
        for stands in Said::ALL {
            let (backend, clock) = (backend(), FakeClock::default());
            let cache = cache(&backend, CachingOptions::new(), &clock);
            let message = &messages(&backend, 1)[0];
            calls(&cache, message);
            backend.set(|script| {
                script.unwrap = Some(says.error());
                match stands {
                    Said::NotMine => script.freshness = Some(Freshness::NotMine),
                    Said::Refused(why) => script.freshness = Some(Freshness::Refused(why)),
                    // In use, going by the label: the documented bound.
                    Said::Authentication => script.freshness = Some(Freshness::Stale),
                    _ => script.freshness_down = true,
                }
            });
            let answer = Envelope::new(&cache).decrypt(message, ROW);
            if stands == Said::Authentication {
                assert_eq!(answer.unwrap(), PLAINTEXT);
                clock.advance(MINUTE);
                let error = Envelope::new(&cache).decrypt(message, ROW).unwrap_err();
                assert_eq!(Said::of(&error), says);
            } else {
                assert_eq!(Said::of(&answer.unwrap_err()), says, "{stands:?}");
            }
        }
    }
}

/// Not served from the cache, and not hidden either: the inner keyring decides.
#[test]
fn unknown_state_asks_the_inner_keyring_to_unwrap() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    let message = &messages(&backend, 1)[0];
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 0]);
    backend.set(|script| script.freshness_down = true);
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 1]);
    backend.set(|script| script.down = true);
    let error = Envelope::new(&cache).decrypt(message, ROW).unwrap_err();
    assert!(matches!(error, Error::Backend(_)));
    // It is still there, and served once the state can be asked again.
    backend.set(|script| *script = Default::default());
    assert_eq!(calls(&cache, message), 0);
}

/// Where that is asked for, an outage does not reach what was read a moment ago; a denial and a refusal
/// do, and so does the age.
#[test]
fn serving_unanswered_keeps_the_cache_in_an_outage() {
    let (first, old) = (backend(), Scripted::new(ring("orders", 2)));
    let message = &messages(&old, 1)[0];
    for unanswered in [false, true] {
        let clock = FakeClock::default();
        let options = CachingOptions::new();
        let options = if unanswered { options.serve_while_unavailable() } else { options };
        let moving = MigratingKeyring::new(first.clone()).with(old.clone()).unwrap();
        let cache = CachingKeyring::with_options(moving, options).with_clock(clock.reader());
        let decrypt = || Envelope::new(&cache).decrypt(message, ROW);
        decrypt().unwrap();
        old.calls();
        first.set(|script| script.down = true);
        (0..100).for_each(|_| assert_eq!(decrypt().unwrap(), PLAINTEXT));
        assert_eq!(old.calls().1, if unanswered { 0 } else { 100 });
        old.set(|script| script.down = true);
        clock.advance(MINUTE - NANO);
        assert_eq!(decrypt().is_ok(), unanswered);
        clock.advance(NANO);
        assert!(matches!(decrypt(), Err(Error::Backend(_))));
        first.set(|script| *script = Default::default());
        old.set(|script| *script = Default::default());
        // Once it is available again, it is called again.
        decrypt().unwrap();
        old.set(|script| script.freshness = Some(Freshness::Refused(Refusal::Disabled)));
        old.set(|script| script.unwrap = Some(Said::Refused(Refusal::Disabled).error()));
        assert_eq!(Said::of(&decrypt().unwrap_err()), Said::Refused(Refusal::Disabled));
        old.set(|script| *script = Default::default());
    }
}

#[test]
fn entry_lives_for_its_age_and_no_nanosecond_more() {
    for (max_age, options) in [
        (MINUTE, CachingOptions::new()),
        (NANO, CachingOptions::new().max_age(NANO)),
        (7 * MINUTE, CachingOptions::new().max_age(7 * MINUTE)),
    ] {
        let (backend, clock) = (backend(), FakeClock::default());
        let cache = cache(&backend, options, &clock);
        let message = &messages(&backend, 1)[0];
        for advance in [max_age - NANO, max_age, max_age + NANO] {
            cache.purge();
            assert_eq!(calls(&cache, message), 1);
            clock.advance(advance);
            // A hit half-way does not prolong it.
            assert_eq!(calls(&cache, message), usize::from(advance >= max_age), "{advance:?}");
        }
        cache.purge();
        assert_eq!(calls(&cache, message), 1);
        clock.advance(max_age / 2);
        calls(&cache, message);
        clock.advance(max_age - max_age / 2);
        assert!(cache.is_empty());
        assert_eq!(calls(&cache, message), 1);
        // A clock that goes back knows no age.
        clock.set(Duration::ZERO);
        assert_eq!(calls(&cache, message), 1);
    }
    let (backend, clock) = (backend(), FakeClock::default());
    let none = cache(&backend, CachingOptions::new().max_age(Duration::ZERO), &clock);
    let message = &messages(&backend, 1)[0];
    assert_eq!([(); 2].map(|()| calls(&none, message)), [1, 1]);
}

/// The age counts from before the call: a backend that takes its time does not prolong it.
#[test]
fn slow_call_is_part_of_the_age() {
    let (backend, clock) = (backend(), FakeClock::default());
    let slow = clock::Slow { inner: backend.clone(), clock: &clock, takes: MINUTE - NANO };
    let cache =
        CachingKeyring::with_options(slow, CachingOptions::new()).with_clock(clock.reader());
    let message = &messages(&backend, 1)[0];
    let envelope = Envelope::new(&cache);
    envelope.decrypt(message, ROW).unwrap();
    envelope.decrypt(message, ROW).unwrap();
    assert_eq!(backend.calls().1, 1);
    clock.advance(NANO);
    envelope.decrypt(message, ROW).unwrap();
    assert_eq!(backend.calls().1, 1);
    assert_eq!(cache.stats().misses, 2);
}

#[test]
fn beyond_its_capacity_least_recently_used_gives_way() {
    for capacity in [0, 1, 2, 3, 10] {
        let (backend, clock) = (backend(), FakeClock::default());
        let cache = cache(&backend, CachingOptions::new().capacity(capacity), &clock);
        let messages = messages(&backend, capacity + 1);
        for (at, message) in messages.iter().enumerate() {
            assert_eq!(calls(&cache, message), 1);
            assert_eq!(cache.len(), capacity.min(at + 1));
        }
        assert_eq!(cache.stats().evictions, u64::from(capacity > 0));
        // The first went; the others are there, and using the second saves it from the next.
        for message in &messages[1..] {
            assert_eq!(calls(&cache, message), 0);
        }
        if capacity > 1 {
            assert_eq!(calls(&cache, &messages[1]), 0);
            assert_eq!(calls(&cache, &messages[0]), 1);
            assert_eq!(calls(&cache, &messages[1]), 0);
            assert_eq!(calls(&cache, &messages[2]), 1);
        }
        assert!(cache.len() <= capacity);
    }
}

#[test]
fn default_holds_a_thousand_for_a_minute() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::default(), &clock);
    for message in messages(&backend, 1001) {
        calls(&cache, &message);
    }
    assert_eq!((cache.len(), cache.stats().evictions), (1000, 1));
    clock.advance(MINUTE - NANO);
    assert_eq!(cache.len(), 1000);
    clock.advance(NANO);
    assert_eq!(cache.len(), 0);
}

#[test]
fn no_failure_is_cached() {
    for said in Said::ALL {
        let (backend, clock) = (backend(), FakeClock::default());
        let cache = cache(&backend, CachingOptions::new(), &clock);
        let message = &messages(&backend, 1)[0];
        backend.set(|script| script.unwrap = Some(said.error()));
        let error = Envelope::new(&cache).decrypt(message, ROW).unwrap_err();
        assert_eq!(Said::of(&error), said);
        assert!(cache.is_empty());
        backend.set(|script| script.unwrap = None);
        assert_eq!(calls(&cache, message), 1, "{said:?}");
    }
    // Nor a key that is not the message's: it would be refused for a minute.
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    let message = &messages(&backend, 1)[0];
    backend.set(|script| script.careless = true);
    let answer = Envelope::new(&cache).decrypt(message, ROW);
    assert!(matches!(answer, Err(Error::Authentication { .. })));
    backend.set(|script| script.careless = false);
    assert_eq!([(); 2].map(|()| calls(&cache, message)), [1, 0]);
}

/// SPEC R-PROOF: no cache proves a slot that was written a moment ago.
#[test]
fn rewrap_goes_to_the_backend_and_is_proven_there() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, CachingOptions::new(), &clock);
    let envelope = Envelope::new(&cache);
    let mut message = messages(&backend, 1).remove(0);
    calls(&cache, &message);
    backend.ring.rotate().unwrap();
    backend.calls();
    assert!(envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed());
    assert_eq!(backend.calls(), (1, 2));
    // A rewrap of many messages evicts no key that is read: the proof keeps none.
    assert_eq!((cache.len(), cache.stats().misses), (1, 1));
    assert_eq!([(); 2].map(|()| calls(&cache, &message)), [1, 0]);
}

#[test]
fn cache_around_or_within_keyrings_opens_the_same() {
    let (new, old) = (ring("orders", 1), Scripted::new(ring("orders", 2)));
    let message = Envelope::new(&old.ring).encrypt(PLAINTEXT, ROW).unwrap();
    let moving = MigratingKeyring::new(new).with(old.clone()).unwrap();
    let around = Envelope::new(CachingKeyring::new(moving));
    let within = MultiKeyring::new(ring("backup", 3)).with(CachingKeyring::new(old.clone()));
    let within = Envelope::new(within.unwrap());
    for _ in 0..3 {
        assert_eq!(around.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        assert_eq!(within.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    }
    assert_eq!(old.calls(), (0, 2));
    assert_eq!(around.keyring().stats().hits, 2);
    // A first member whose state cannot be asked hides none that opens, cached or not.
    let first = Scripted::new(ring("orders", 1));
    let moving = MigratingKeyring::new(first.clone()).with(old.clone()).unwrap();
    let around = Envelope::new(CachingKeyring::new(moving));
    for is_down in [false, true, false] {
        first.set(|script| script.down = is_down);
        assert_eq!(around.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    }
    assert_eq!(old.calls(), (0, 2));
}

#[test]
fn text_of_a_cache_names_no_key() {
    let (backend, clock) = (backend(), FakeClock::default());
    let options = CachingOptions::new();
    let cache = cache(&backend, options, &clock);
    let text = format!("{cache:?} {:?} {options:?}", cache.stats());
    assert!(text.starts_with("CachingKeyring { stats: "), "{text}");
    let error: KeyringError = down();
    assert!(!format!("{error}").is_empty());
}
