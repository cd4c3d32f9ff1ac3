//! One data key for several messages: within its bounds, and only while its slots are good.

use super::clock::{FakeClock, Slow};
use super::combine::{PLAINTEXT, ROW, Scripted, label, labels, ring, version};
use super::{MINUTE, NANO, backend, cache};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    CachingKeyring, CachingOptions, DataKey, DataKeyId, Envelope, Error, Freshness, Keyring,
    KeyringError, KeyringRng, Lifecycle, MultiKeyring, PrimaryKey, Slot, SlotLabel, SlotWriter,
    Suite, WrapContext, inspect,
};
use rand_chacha::ChaCha20Rng;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

fn id(message: &[u8]) -> DataKeyId {
    inspect(message).unwrap().data_key_id()
}

/// Encrypts messages of these lengths and returns which of them share a data key, as numbers that
/// count the data keys up.
fn batches<K: Keyring>(keyring: &K, lengths: &[usize]) -> Vec<usize> {
    let mut ids = Vec::new();
    let number = |len: &usize| {
        let message = Envelope::new(keyring).encrypt(&vec![7; *len], ROW).unwrap();
        assert_eq!(Envelope::new(keyring).decrypt(&message, ROW).unwrap(), vec![7; *len]);
        let id = id(&message);
        ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    lengths.iter().map(number).collect()
}

fn reuse(messages: u64, bytes: u64) -> CachingOptions {
    CachingOptions::new().reuse(messages, bytes, MINUTE)
}

#[test]
fn no_data_key_is_reused_unless_asked_for() {
    let (backend, clock) = (backend(), FakeClock::default());
    let off = cache(&backend, CachingOptions::new(), &clock);
    assert_eq!(batches(&off, &[1; 5]), [0, 1, 2, 3, 4]);
    for messages in [0, 1] {
        let none = cache(&backend, reuse(messages, 1 << 20), &clock);
        assert_eq!(batches(&none, &[1; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(none.stats().reused, 0);
    }
}

#[test]
fn a_data_key_serves_for_as_many_messages_as_allowed() {
    for limit in [2, 3, 100] {
        let (backend, clock) = (backend(), FakeClock::default());
        let cache = cache(&backend, reuse(limit, 1 << 20), &clock);
        let numbers = batches(&cache, &vec![1; 2 * limit as usize + 1]);
        let count = |batch| numbers.iter().filter(|number| **number == batch).count() as u64;
        assert_eq!((count(0), count(1), count(2)), (limit, limit, 1));
        assert_eq!(backend.calls().0, 3);
        assert_eq!(cache.stats().reused, 2 * (limit - 1));
    }
}

/// The byte limit at limit - 1, limit and limit + 1.
#[test]
fn a_data_key_protects_as_many_bytes_as_allowed() {
    let (backend, clock) = (backend(), FakeClock::default());
    for (lengths, expected) in [
        (&[60, 39, 1][..], &[0, 0, 0][..]),
        (&[60, 40, 0], &[0, 0, 0]),
        (&[60, 41, 1], &[0, 1, 1]),
        (&[40, 61, 60], &[0, 1, 0]),
        (&[60, 40, 1], &[0, 0, 1]),
        (&[99, 1, 1], &[0, 0, 1]),
        (&[100, 0, 1], &[0, 0, 1]),
        // Too long for any batch: a key of its own, and the batch goes on.
        (&[101, 0], &[0, 1]),
        (&[10, 101, 10], &[0, 1, 0]),
        // The key with more left goes on.
        (&[90, 11, 10, 80], &[0, 1, 1, 2]),
        (&[10, 95, 10, 80], &[0, 1, 0, 0]),
    ] {
        let cache = cache(&backend, reuse(1000, 100), &clock);
        assert_eq!(batches(&cache, lengths), expected, "{lengths:?}");
    }
    // No sum overflows.
    let cache = cache(&backend, reuse(u64::MAX, u64::MAX), &clock);
    assert_eq!(batches(&cache, &[0, 1, 70_000]), [0, 0, 0]);
}

#[test]
fn a_data_key_serves_for_its_age_and_no_nanosecond_more() {
    let (backend, clock) = (backend(), FakeClock::default());
    for advance in [MINUTE - NANO, MINUTE, MINUTE + NANO] {
        let cache = cache(&backend, reuse(1000, 1 << 20), &clock);
        let first = Envelope::new(&cache).encrypt(PLAINTEXT, ROW).unwrap();
        clock.advance(advance);
        let second = Envelope::new(&cache).encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(id(&first) == id(&second), advance < MINUTE);
    }
    // What the wrap takes is part of it.
    let slow = Slow { inner: backend, clock: &clock, takes: MINUTE };
    let cache = CachingKeyring::with_clock(slow, reuse(1000, 1 << 20), &clock);
    assert_eq!(batches(&cache, &[1; 3]), [0, 1, 2]);
}

/// Each suite has a batch of its own; every form of encryption draws from it.
#[test]
fn every_form_of_encryption_reuses_and_no_suite_shares() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(1000, 1 << 20), &clock);
    let mut ids = HashSet::new();
    for &suite in Suite::ALL {
        let envelope = Envelope::new(&cache).with_suite(suite);
        let len = envelope.message_len(PLAINTEXT.len()).unwrap();
        let range = envelope.plaintext_range(PLAINTEXT.len()).unwrap();
        let mut into = vec![0; len];
        envelope.encrypt_into(PLAINTEXT, ROW, &mut into).unwrap();
        let mut in_place = vec![0; len];
        in_place[range.clone()].copy_from_slice(PLAINTEXT);
        envelope.encrypt_in_place(&mut in_place, range, ROW).unwrap();
        let detached = envelope.encrypt_detached(PLAINTEXT, ROW).unwrap();
        let detached = [detached.0, detached.1].concat();
        let usual = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        // A longer header holds the same slots.
        let reserving = Envelope::new(&cache).with_suite(suite).with_reserved(9);
        let reserved = reserving.encrypt(PLAINTEXT, ROW).unwrap();
        let slots = |message: &[u8]| message[24..inspect(message).unwrap().len()].to_vec();
        for message in [&into, &in_place, &detached, &usual, &reserved] {
            assert_eq!(id(message), id(&usual));
            assert!(slots(message).starts_with(&slots(&usual)));
            let reader = Envelope::new(&backend.ring);
            assert_eq!(reader.decrypt(message, ROW).unwrap(), PLAINTEXT);
        }
        ids.insert(id(&usual));
    }
    assert_eq!(ids.len(), Suite::ALL.len());
    assert_eq!(backend.calls().0, Suite::ALL.len());
}

/// SPEC K-RANDOM, B-SALT: 10,000 messages of one data key, equal in all that the caller gives.
#[test]
fn ten_thousand_messages_of_one_data_key_share_no_salt_and_no_body() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(10_000, 1 << 30), &clock);
    let envelope = Envelope::new(&cache);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut rng = envelope.with_rng(&mut rng);
    let (mut headers, mut salts, mut commitments, mut bodies) =
        (HashSet::new(), HashSet::new(), HashSet::new(), HashSet::new());
    for _ in 0..10_000 {
        let (header, body) = rng.encrypt_detached(PLAINTEXT, ROW).unwrap();
        assert!(salts.insert(body[..24].to_vec()));
        assert!(commitments.insert(body[24..56].to_vec()));
        assert!(bodies.insert(body[56..].to_vec()));
        headers.insert(header);
    }
    assert_eq!(headers.len(), 1);
    assert_eq!(backend.calls(), (1, 0));
    let header = headers.into_iter().next().unwrap();
    drop(rng.encrypt(PLAINTEXT, ROW).unwrap());
    assert_eq!(backend.calls(), (1, 0), "10,001 messages");
    assert_eq!(header.len(), 119);
}

/// The order of draws that `Envelope::with_rng` documents: a reused key takes none.
#[test]
fn a_message_of_a_reused_key_draws_its_salt_first() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(1000, 1 << 20), &clock);
    let envelope = Envelope::new(&cache);
    let seeded = || ChaCha20Rng::seed_from_u64(4);
    let (_, first) = envelope.with_rng(&mut seeded()).encrypt_detached(PLAINTEXT, ROW).unwrap();
    let (_, second) = envelope.with_rng(&mut seeded()).encrypt_detached(PLAINTEXT, ROW).unwrap();
    let mut drawn = [0; 88];
    seeded().fill_bytes(&mut drawn);
    assert_eq!((&first[..24], &second[..24]), (&drawn[40..64], &drawn[..24]));
}

/// Nothing takes the place of a batch that has ended, and it does not come back.
#[test]
fn a_batch_that_ended_does_not_come_back() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(1000, 100), &clock);
    let envelope = Envelope::new(&cache);
    let first = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    backend.set(|script| script.compromised = Some(1));
    // It fits, and ends the batch; it leaves less than the batch had.
    let ends = envelope.encrypt(&[0; 93], ROW).unwrap();
    backend.set(|script| *script = Default::default());
    let last = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert!(id(&first) != id(&ends) && id(&first) != id(&last));
    assert_eq!(id(&ends), id(&last));
}

/// What ends a batch, at once; each returns the version that wraps then.
#[test]
fn a_rotation_a_disable_and_a_compromise_end_a_batch_at_once() {
    type End = fn(&Scripted) -> u32;
    let ends: [(&str, End); 5] = [
        ("rotate", |backend| backend.ring.rotate().unwrap().number()),
        ("rotate and disable", |backend| {
            let new = backend.ring.rotate().unwrap();
            backend.ring.disable(version(1)).unwrap();
            new.number()
        }),
        ("compromise", |backend| {
            backend.set(|script| script.compromised = Some(1));
            1
        }),
        ("compromise, strict", |backend| {
            backend.set(|script| (script.compromised, script.strict) = (Some(1), true));
            1
        }),
        ("disowned", |backend| {
            backend.set(|script| script.freshness = Some(Freshness::NotMine));
            1
        }),
    ];
    for (name, end) in ends {
        let (backend, clock) = (backend(), FakeClock::default());
        let cache = cache(&backend, reuse(1000, 100), &clock);
        let envelope = Envelope::new(&cache);
        let before = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
        assert_eq!(id(&before[0]), id(&before[1]));
        let wraps_then = end(&backend);
        let after = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_ne!(id(&before[0]), id(&after), "{name}");
        assert_eq!(labels(&after), [label("orders", wraps_then)], "{name}");
        // Back in good standing, the old batch does not come back.
        backend.set(|script| *script = Default::default());
        let _ = backend.ring.promote(version(1));
        let later = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_ne!(id(&before[0]), id(&later), "{name}");
    }
}

#[test]
fn a_keyring_whose_state_cannot_be_asked_reuses_nothing() {
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(1000, 1 << 20), &clock);
    let envelope = Envelope::new(&cache);
    let first = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    backend.set(|script| script.freshness_down = true);
    let second = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_ne!(id(&first), id(&second));
    backend.set(|script| *script = super::combine::Script { down: true, ..Default::default() });
    let (mut header, mut body) = (vec![0; 119], vec![0; 72 + PLAINTEXT.len()]);
    let answer = envelope.encrypt_detached_into(PLAINTEXT, ROW, &mut header, &mut body);
    assert!(matches!(answer, Err(Error::Unavailable { .. })));
}

/// Every slot of a batch must be good, not its first alone.
#[test]
fn a_batch_of_several_slots_ends_with_any_of_them() {
    for rotated in [0, 1] {
        let members = [Scripted::new(ring("orders", 1)), Scripted::new(ring("backup", 2))];
        let multi = MultiKeyring::new(members[0].clone()).with(members[1].clone()).unwrap();
        let cache = CachingKeyring::with_options(multi, reuse(1000, 1 << 20));
        let envelope = Envelope::new(&cache);
        let before = [(); 3].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
        assert_eq!(before.iter().map(|message| id(message)).collect::<HashSet<_>>().len(), 1);
        members[rotated].ring.rotate().unwrap();
        let after = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_ne!(id(&after), id(&before[0]));
        for member in &members {
            for message in before.iter().chain([&after]) {
                let alone = Envelope::new(&member.ring);
                assert_eq!(alone.decrypt(message, ROW).unwrap(), PLAINTEXT);
            }
        }
        // A message rewrapped since, or read, is no part of the batch.
        let rewrapped = envelope.rewrap(&before[0], Default::default()).unwrap();
        assert_eq!(labels(rewrapped.header())[rotated].1, 2);
    }
}

/// A keyring that begins to wrap under another master key as well: its slots are still good, and
/// there are too few of them.
#[test]
fn a_batch_ends_where_another_slot_would_be_written() {
    struct Growing(Arc<Scripted>, Arc<Scripted>, AtomicBool);
    impl Growing {
        fn members(&self) -> impl Iterator<Item = &Arc<Scripted>> {
            [&self.0, &self.1].into_iter().take(1 + usize::from(self.2.load(Relaxed)))
        }
    }
    impl Keyring for Growing {
        fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
            self.members().try_for_each(|member| member.primary(visit))
        }
        fn wrap(
            &self,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            self.members().try_for_each(|member| member.wrap(data_key, context, slots, rng))
        }
        fn unwrap(
            &self,
            slot: &Slot<'_>,
            context: &WrapContext<'_>,
            data_key: &mut DataKey,
        ) -> Result<(), KeyringError> {
            self.0.unwrap(slot, context, data_key)
        }
    }
    let growing = Growing(backend(), Scripted::new(ring("backup", 2)), AtomicBool::new(false));
    let cache = CachingKeyring::with_options(growing, reuse(1000, 1 << 20));
    let envelope = Envelope::new(&cache);
    let first = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
    cache.inner().2.store(true, Relaxed);
    let both = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
    cache.inner().2.store(false, Relaxed);
    let last = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    let slots = [&first[1], &both[0], &both[1], &last].map(|message| labels(message).len());
    assert_eq!(slots, [1, 2, 2, 1]);
    assert_eq!((id(&first[0]) == id(&first[1]), id(&both[0]) == id(&both[1])), (true, true));
}

/// Threads share a batch and keep to its bounds together.
#[test]
fn threads_together_keep_to_the_bounds() {
    const LIMIT: usize = 100;
    let (backend, clock) = (backend(), FakeClock::default());
    let cache = cache(&backend, reuse(LIMIT as u64, 1 << 30), &clock);
    let ids = Mutex::new(HashMap::<DataKeyId, usize>::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let message = Envelope::new(&cache).encrypt(PLAINTEXT, ROW).unwrap();
                    *ids.lock().unwrap().entry(id(&message)).or_default() += 1;
                }
            });
        }
    });
    let ids = ids.into_inner().unwrap();
    assert_eq!(ids.values().sum::<usize>(), 4000);
    assert!(ids.values().all(|uses| *uses <= LIMIT), "{:?}", ids.values().max());
    assert_eq!(ids.len(), backend.calls().0);
    assert_eq!(cache.stats().reused as usize, 4000 - ids.len());
}

/// A keyring around a cache: something happens between the choice of the key and its wrap.
struct Between<'c> {
    cache: super::Cache<'c>,
    then: fn(&super::Cache<'_>),
}

impl Keyring for Between<'_> {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.cache.primary(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if context.reuses_data_key() {
            (self.then)(&self.cache);
        }
        self.cache.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.cache.unwrap(slot, context, data_key)
    }

    fn reuse_data_key(
        &self,
        suite: Suite,
        plaintext_len: u64,
        data_key: &mut DataKey,
    ) -> Result<Option<[u8; 8]>, KeyringError> {
        self.cache.reuse_data_key(suite, plaintext_len, data_key)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.cache.freshness(label)
    }
}

/// The old data key is not wrapped anew, nor does it start another batch: a fresh one serves.
#[test]
fn a_batch_that_ends_before_the_wrap_gives_way_to_a_fresh_key() {
    let clock = FakeClock::default();
    let cache = cache(&backend(), reuse(1000, 1 << 20), &clock);
    let between = Between { cache, then: |cache| cache.purge() };
    assert_eq!(batches(&between, &[1; 4]), [0, 1, 2, 3]);
    assert_eq!(between.cache.inner().calls().0, 4);
    assert_eq!(between.cache.stats().reused, 0);
}

/// A keyring that hands out what is no data key costs nothing but the attempt.
#[test]
fn a_reused_key_of_another_length_or_unknown_gives_way_to_a_fresh_one() {
    struct Lies(Arc<Scripted>, usize);
    impl Keyring for Lies {
        fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
            self.0.primary(visit)
        }
        fn wrap(
            &self,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            assert_eq!(data_key.len(), context.suite().data_key_len());
            match context.reuses_data_key() {
                true => Err(KeyringError::NotMine),
                false => self.0.wrap(data_key, context, slots, rng),
            }
        }
        fn unwrap(
            &self,
            slot: &Slot<'_>,
            context: &WrapContext<'_>,
            data_key: &mut DataKey,
        ) -> Result<(), KeyringError> {
            self.0.unwrap(slot, context, data_key)
        }
        fn reuse_data_key(
            &self,
            _: Suite,
            _: u64,
            data_key: &mut DataKey,
        ) -> Result<Option<[u8; 8]>, KeyringError> {
            assert!(data_key.set(&vec![1; self.1]));
            Ok(Some([9; 8]))
        }
    }
    for len in [0, 16, 31, 32] {
        assert_eq!(batches(&Lies(backend(), len), &[1; 3]), [0, 1, 2]);
    }
}

/// What a keyring is told of a message, for every form: its length while it is encrypted.
#[test]
fn a_wrap_is_told_the_length_of_the_plaintext_and_nothing_else_is() {
    struct Told(Arc<Scripted>, Mutex<Vec<Option<u64>>>);
    impl Keyring for Told {
        fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
            self.0.primary(visit)
        }
        fn wrap(
            &self,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            self.1.lock().unwrap().push(context.plaintext_len());
            assert!(!context.reuses_data_key());
            self.0.wrap(data_key, context, slots, rng)
        }
        fn unwrap(
            &self,
            slot: &Slot<'_>,
            context: &WrapContext<'_>,
            data_key: &mut DataKey,
        ) -> Result<(), KeyringError> {
            assert_eq!(context.plaintext_len(), None);
            self.0.unwrap(slot, context, data_key)
        }
    }
    let told = Told(backend(), Mutex::default());
    let envelope = Envelope::new(&told);
    let message = envelope.encrypt(&[1; 20_000], ROW).unwrap();
    envelope.encrypt_detached(&[], ROW).unwrap();
    let mut room = vec![0; envelope.message_len(5).unwrap()];
    envelope.encrypt_into(&[1; 5], ROW, &mut room).unwrap();
    let range = envelope.plaintext_range(5).unwrap();
    envelope.encrypt_in_place(&mut room, range, ROW).unwrap();
    told.0.ring.rotate().unwrap();
    assert!(envelope.rewrap(&message, Default::default()).unwrap().is_changed());
    let lengths = told.1.lock().unwrap().clone();
    assert_eq!(lengths, [Some(20_000), Some(0), Some(5), Some(5), None]);
}
