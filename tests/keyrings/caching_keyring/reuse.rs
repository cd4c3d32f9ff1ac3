//! One data key for several messages: within its bounds, only while its slots are good, and with one
//! wrap for all threads that need it.

use super::backend;
use super::clock::{FakeClock, Slow};
use super::combine::{PLAINTEXT, ROW, Said, Scripted, label, labels, ring, version};
use super::{MINUTE, NANO};
use crate::common::detached::WriteDetached;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    DataKey, DataKeyId, DataKeyReuse, Envelope, Error, Keyring, Lifecycle, MultiKeyring, SlotLabel,
    Suite,
    format::Slot,
    inspect,
    keyring::{
        Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WithoutVersions, WrapContext,
    },
};
use rand_chacha::ChaCha20Rng;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Without age, unless the test advances the clock.
fn reuse(messages: u64, bytes: u64) -> Arc<DataKeyReuse> {
    reuse_by(&Arc::default(), messages, bytes)
}

fn reuse_by(clock: &Arc<FakeClock>, messages: u64, bytes: u64) -> Arc<DataKeyReuse> {
    Arc::new(DataKeyReuse::new(messages, bytes, MINUTE).with_clock(clock.reader()))
}

fn envelope<K: Keyring>(keyring: K, reuse: &Arc<DataKeyReuse>) -> Envelope<K> {
    Envelope::new(keyring).with_data_key_reuse(reuse.clone())
}

fn id(message: &[u8]) -> DataKeyId {
    inspect(message).unwrap().data_key_id()
}

/// Encrypts messages of these lengths and returns which of them share a data key, as numbers that
/// count the data keys up.
fn batches<K: Keyring>(envelope: &Envelope<K>, lengths: &[usize]) -> Vec<usize> {
    let mut ids = Vec::new();
    let number = |len: &usize| {
        let message = envelope.encrypt(&vec![7; *len], ROW).unwrap();
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), vec![7; *len]);
        let id = id(&message);
        ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    lengths.iter().map(number).collect()
}

#[test]
fn no_data_key_is_reused_unless_asked_for() {
    assert_eq!(batches(&Envelope::new(backend()), &[1; 5]), [0, 1, 2, 3, 4]);
    for messages in [0, 1] {
        let none = reuse(messages, 1 << 20);
        assert_eq!(batches(&envelope(backend(), &none), &[1; 5]), [0, 1, 2, 3, 4]);
        assert_eq!((none.stats().reused, none.stats().wraps), (0, 0));
    }
    let none = Arc::new(DataKeyReuse::new(100, 1 << 20, std::time::Duration::ZERO));
    assert_eq!(batches(&envelope(backend(), &none), &[1; 3]), [0, 1, 2]);
}

#[test]
fn data_key_serves_for_as_many_messages_as_allowed() {
    for limit in [2, 3, 100] {
        let (backend, reuse) = (backend(), reuse(limit, 1 << 20));
        let numbers = batches(&envelope(backend.clone(), &reuse), &vec![1; 2 * limit as usize + 1]);
        let count = |batch| numbers.iter().filter(|number| **number == batch).count() as u64;
        assert_eq!((count(0), count(1), count(2)), (limit, limit, 1));
        assert_eq!(backend.calls().0, 3);
        assert_eq!((reuse.stats().reused, reuse.stats().wraps), (2 * (limit - 1), 3));
    }
}

/// The byte limit at limit - 1, limit and limit + 1.
#[test]
fn data_key_protects_as_many_bytes_as_allowed() {
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
        let envelope = envelope(backend(), &reuse(1000, 100));
        assert_eq!(batches(&envelope, lengths), expected, "{lengths:?}");
    }
    // No sum overflows.
    let envelope = envelope(backend(), &reuse(u64::MAX, u64::MAX));
    assert_eq!(batches(&envelope, &[0, 1, 70_000]), [0, 0, 0]);
}

#[test]
fn data_key_serves_for_its_age_and_no_nanosecond_more() {
    for advance in [MINUTE - NANO, MINUTE, MINUTE + NANO] {
        let clock = Arc::<FakeClock>::default();
        let envelope = envelope(backend(), &reuse_by(&clock, 1000, 1 << 20));
        let first = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        clock.advance(advance);
        let second = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(id(&first) == id(&second), advance < MINUTE);
    }
    // The duration of the wrap is part of it.
    let clock = Arc::<FakeClock>::default();
    let slow = Slow { inner: backend(), clock: &clock, takes: MINUTE };
    assert_eq!(batches(&envelope(slow, &reuse_by(&clock, 1000, 1 << 20)), &[1; 3]), [0, 1, 2]);
}

/// Each suite has a batch of its own; every form of encryption draws from it.
#[test]
fn every_form_of_encryption_reuses_within_its_suite() {
    let (backend, reuse) = (backend(), reuse(1000, 1 << 20));
    let mut ids = HashSet::new();
    for &suite in Suite::ALL {
        let envelope = envelope(backend.clone(), &reuse).with_suite(suite);
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
        let reserving = Envelope::new(&backend).with_suite(suite).with_reserved(9);
        let reserving = reserving.with_data_key_reuse(reuse.clone());
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
fn ten_thousand_messages_of_a_data_key_share_no_salt() {
    let backend = backend();
    let envelope = envelope(backend.clone(), &reuse(10_000, 1 << 30));
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let rng = envelope.with_rng(&mut rng);
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
fn message_of_a_reused_key_draws_its_salt_first() {
    let backend = backend();
    let envelope = envelope(backend.clone(), &reuse(1000, 1 << 20));
    let seeded = || ChaCha20Rng::seed_from_u64(4);
    let (_, first) = envelope.with_rng(&mut seeded()).encrypt_detached(PLAINTEXT, ROW).unwrap();
    let (_, second) = envelope.with_rng(&mut seeded()).encrypt_detached(PLAINTEXT, ROW).unwrap();
    let mut drawn = [0; 88];
    seeded().fill_bytes(&mut drawn);
    assert_eq!((&first[..24], &second[..24]), (&drawn[40..64], &drawn[..24]));
}

/// A batch that has ended is not used again, even if it had more room than the next one.
#[test]
fn batch_that_ended_does_not_come_back() {
    let backend = backend();
    let envelope = envelope(backend.clone(), &reuse(1000, 100));
    let first = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    backend.set(|script| script.compromised = Some(1));
    // It fits, and ends the batch; it leaves less than the batch had.
    let ends = envelope.encrypt(&[0; 93], ROW).unwrap();
    backend.set(|script| *script = Default::default());
    let last = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert!(id(&first) != id(&ends) && id(&first) != id(&last));
    assert_eq!(id(&ends), id(&last));
}

/// Acts that end a batch at once; each returns the version that wraps then.
#[test]
fn rotation_disable_and_compromise_end_batch_at_once() {
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
        let backend = backend();
        let envelope = envelope(backend.clone(), &reuse(1000, 100));
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
fn keyring_whose_state_cannot_be_asked_reuses_nothing() {
    let backend = backend();
    let envelope = envelope(backend.clone(), &reuse(1000, 1 << 20));
    let first = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    backend.set(|script| script.freshness_down = true);
    let second = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_ne!(id(&first), id(&second));
    backend.set(|script| *script = super::combine::Script { down: true, ..Default::default() });
    let (mut header, mut body) = (vec![0; 119], vec![0; 72 + PLAINTEXT.len()]);
    let answer = envelope.encrypt_detached_into(PLAINTEXT, ROW, &mut header, &mut body);
    assert!(matches!(answer, Err(Error::Backend(_))));
}

/// Every slot of a batch must be good, not its first alone.
#[test]
fn batch_of_several_slots_ends_with_any_of_them() {
    for rotated in [0, 1] {
        let members = [Scripted::new(ring("orders", 1)), Scripted::new(ring("backup", 2))];
        let multi = MultiKeyring::new(members[0].clone()).with(members[1].clone()).unwrap();
        let envelope = envelope(multi, &reuse(1000, 1 << 20));
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
fn batch_ends_where_another_slot_would_be_written() {
    struct Growing(Arc<Scripted>, Arc<Scripted>, AtomicBool);
    impl Growing {
        fn members(&self) -> impl Iterator<Item = &Arc<Scripted>> {
            [&self.0, &self.1].into_iter().take(1 + usize::from(self.2.load(Relaxed)))
        }
    }
    impl Keyring for Growing {
        fn visit_primaries(
            &self,
            visit: &mut dyn FnMut(&PrimaryKey<'_>),
        ) -> Result<(), KeyringError> {
            self.members().try_for_each(|member| member.visit_primaries(visit))
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
    let envelope = envelope(growing, &reuse(1000, 1 << 20));
    let first = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
    envelope.keyring().2.store(true, Relaxed);
    let both = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
    envelope.keyring().2.store(false, Relaxed);
    let last = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    let slots = [&first[1], &both[0], &both[1], &last].map(|message| labels(message).len());
    assert_eq!(slots, [1, 2, 2, 1]);
    assert_eq!((id(&first[0]) == id(&first[1]), id(&both[0]) == id(&both[1])), (true, true));
}

/// A backend whose `wrap` waits until it is let go, and then can fail or panic.
struct Gated {
    inner: Arc<Scripted>,
    is_open: Mutex<bool>,
    opened: Condvar,
    within: AtomicUsize,
    panics: AtomicBool,
}

impl Gated {
    fn new() -> Self {
        let (is_open, opened, within, panics) = Default::default();
        Gated { inner: backend(), is_open, opened, within, panics }
    }

    fn let_go(&self) {
        *self.is_open.lock().unwrap() = true;
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
        self.within.fetch_add(1, Relaxed);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
        drop(is_open);
        if self.panics.swap(false, Relaxed) {
            panic!("on purpose");
        }
        self.inner.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.inner.unwrap(slot, context, data_key)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.inner.freshness(label)
    }
}

type Outcome = thread::Result<Result<Vec<u8>, Error>>;

/// Has so many threads encrypt a message each: `wraps` are within the backend and all others wait
/// for them when `then` runs and lets them go.
fn stampede(
    envelope: &Envelope<Gated>,
    reuse: &DataKeyReuse,
    (threads, wraps): (usize, usize),
    then: impl FnOnce(&Gated),
) -> Vec<Outcome> {
    let gate = envelope.keyring();
    let encrypt = || envelope.encrypt(PLAINTEXT, ROW);
    thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| catch_unwind(AssertUnwindSafe(encrypt)));
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        let waiting = (threads.len() - wraps) as u64;
        while reuse.stats().waits < waiting || gate.within.load(Relaxed) < wraps {
            thread::yield_now();
        }
        assert_eq!(gate.within.load(Relaxed), wraps);
        then(gate);
        gate.let_go();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn threads_that_need_a_key_at_once_cause_one_wrap() {
    for (threads, limit) in [(32_usize, 100_usize), (64, 100), (128, 100), (128, 1000), (30, 10)] {
        let wraps = threads.div_ceil(limit);
        let reuse = reuse(limit as u64, 1 << 30);
        let envelope = envelope(Gated::new(), &reuse);
        let mut ids = HashMap::<DataKeyId, usize>::new();
        for outcome in stampede(&envelope, &reuse, (threads, wraps), |_| ()) {
            let message = outcome.unwrap().unwrap();
            assert_eq!(
                Envelope::new(&envelope.keyring().inner).decrypt(&message, ROW).unwrap(),
                PLAINTEXT
            );
            *ids.entry(id(&message)).or_default() += 1;
        }
        assert_eq!(envelope.keyring().inner.calls().0, wraps, "{threads} threads");
        assert!(ids.len() == wraps && ids.values().all(|uses| *uses <= limit));
        let stats = reuse.stats();
        assert_eq!((stats.wraps, stats.reused), (wraps as u64, (threads - wraps) as u64));
    }
}

/// Many batches, of which each ends while threads are about to use it: not a wrap too many.
#[test]
fn threads_wrap_as_often_as_batches_fill() {
    for (threads, each, limit) in
        [(4_usize, 1000, 100_usize), (32, 100, 100), (64, 33, 7), (8, 125, 1000)]
    {
        // By the real clock, which each thread reads at another time.
        let reuse = Arc::new(DataKeyReuse::new(limit as u64, 1 << 30, 1000 * MINUTE));
        let backend = backend();
        let envelope = envelope(backend.clone(), &reuse);
        let ids = Mutex::new(HashMap::<DataKeyId, usize>::new());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..each {
                        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                        *ids.lock().unwrap().entry(id(&message)).or_default() += 1;
                    }
                });
            }
        });
        let (ids, messages) = (ids.into_inner().unwrap(), threads * each);
        assert_eq!(ids.values().sum::<usize>(), messages);
        assert!(ids.values().all(|uses| *uses <= limit), "{:?}", ids.values().max());
        assert_eq!(backend.calls().0, messages.div_ceil(limit), "{threads} threads");
        assert_eq!(reuse.stats().reused as usize, messages - messages.div_ceil(limit));
    }
}

/// Messages of more than half of the bytes fill no batch together: none waits for another.
#[test]
fn messages_of_different_batches_do_not_wait() {
    let reuse = reuse(1000, 10);
    let envelope = envelope(Gated::new(), &reuse);
    for outcome in stampede(&envelope, &reuse, (8, 8), |_| ()) {
        outcome.unwrap().unwrap();
    }
    assert_eq!((reuse.stats().waits, envelope.keyring().inner.calls().0), (0, 8));
}

#[test]
fn failing_wrap_fails_for_all_waiting_and_none_later() {
    let reuse = reuse(100, 1 << 30);
    let envelope = envelope(Gated::new(), &reuse);
    let down = |gate: &Gated| gate.inner.set(|script| script.down = true);
    for outcome in stampede(&envelope, &reuse, (16, 1), down) {
        assert_eq!(Said::of(&outcome.unwrap().unwrap_err()), Said::Unavailable);
    }
    let inner = &envelope.keyring().inner;
    assert_eq!(inner.calls().0, 1);
    inner.set(|script| script.down = false);
    assert_eq!(batches(&envelope, &[1; 3]), [0, 0, 0]);
    assert_eq!(inner.calls().0, 1);
}

/// A waiting message gets the error with the refused version, as the message that wrapped.
#[test]
fn wrap_that_is_refused_is_refused_for_all_that_wait() {
    let reuse = reuse(100, 1 << 30);
    let without = |gate| WithoutVersions::new(gate).and("orders", version(1)).unwrap();
    let envelope = envelope(without(Gated::new()), &reuse);
    let gate = envelope.keyring().inner();
    let refused = thread::scope(|scope| {
        let encrypt = || envelope.encrypt(PLAINTEXT, ROW).unwrap_err();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(encrypt)).collect();
        while reuse.stats().waits < 3 {
            thread::yield_now();
        }
        gate.let_go();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for error in refused {
        let is_it = matches!(&error, Error::Refused { version: found, .. } if *found == version(1));
        assert!(is_it, "{error:?}");
    }
}

/// An unverified slot is not used for a message of an envelope that verifies wraps.
#[test]
fn unverified_batch_serves_no_verifying_envelope() {
    let (reuse, keyring) = (reuse(100, 1 << 30), backend());
    let trusting = envelope(keyring.clone(), &reuse);
    let verifying = envelope(keyring.clone(), &reuse).with_wraps_verified();
    for _ in 0..3 {
        let trusted = id(&trusting.encrypt(PLAINTEXT, ROW).unwrap());
        assert_ne!(id(&verifying.encrypt(PLAINTEXT, ROW).unwrap()), trusted);
    }
    assert_eq!(keyring.calls(), (2, 1));
}

/// One thread panics, as it would without reuse; another wraps for all that are left.
#[test]
fn wrap_that_panics_leaves_no_message_waiting() {
    let reuse = reuse(100, 1 << 30);
    let envelope = envelope(Gated::new(), &reuse);
    let panics = |gate: &Gated| gate.panics.store(true, Relaxed);
    let outcomes = stampede(&envelope, &reuse, (16, 1), panics);
    let (lost, kept): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_err);
    let ids: HashSet<_> = kept.into_iter().map(|kept| id(&kept.unwrap().unwrap())).collect();
    assert_eq!((lost.len(), ids.len(), envelope.keyring().inner.calls().0), (1, 1, 1));
}

/// A failure of the first message alone does not fail the others.
#[test]
fn failing_generator_or_buffer_fails_its_message_only() {
    let reuse = reuse(100, 1 << 30);
    let gated = envelope(Gated::new(), &reuse);
    let (mut header, mut body) = ([0; 60], [0; 72 + PLAINTEXT.len()]);
    thread::scope(|scope| {
        // Its slots do not fit: the wrap succeeds, and the push does not.
        let short = || gated.encrypt_detached_into(PLAINTEXT, ROW, &mut header, &mut body);
        let short = scope.spawn(short);
        while gated.keyring().within.load(Relaxed) == 0 {
            thread::yield_now();
        }
        let others: Vec<_> =
            (0..7).map(|_| scope.spawn(|| gated.encrypt(PLAINTEXT, ROW))).collect();
        while reuse.stats().waits < 7 {
            thread::yield_now();
        }
        gated.keyring().let_go();
        assert!(matches!(short.join().unwrap(), Err(Error::HeaderRoom { .. })));
        let ids: HashSet<_> =
            others.into_iter().map(|other| id(&other.join().unwrap().unwrap())).collect();
        assert_eq!(ids.len(), 1);
    });
    assert_eq!(gated.keyring().inner.calls().0, 2);
}

/// The wait may have been long: a compromise meanwhile ends the batch before it has served.
#[test]
fn compromise_during_wait_ends_the_batch() {
    let reuse = reuse(100, 1 << 30);
    let envelope = envelope(Gated::new(), &reuse);
    let compromised = |gate: &Gated| gate.inner.set(|script| script.compromised = Some(1));
    let outcomes = stampede(&envelope, &reuse, (8, 1), compromised);
    let ids: HashSet<_> =
        outcomes.into_iter().map(|outcome| id(&outcome.unwrap().unwrap())).collect();
    // Every key ends as soon as it is wrapped: no message shares one.
    assert_eq!((ids.len(), reuse.stats().reused), (8, 0));
}

#[test]
fn purge_during_a_wrap_ends_its_batch() {
    let reuse = reuse(100, 1 << 30);
    let envelope = envelope(Gated::new(), &reuse);
    let outcomes = stampede(&envelope, &reuse, (8, 1), |_| reuse.purge());
    let mut uses = HashMap::<DataKeyId, usize>::new();
    for outcome in outcomes {
        *uses.entry(id(&outcome.unwrap().unwrap())).or_default() += 1;
    }
    // The first one has its key for itself; the seven share another.
    let mut uses: Vec<_> = uses.into_values().collect();
    uses.sort_unstable();
    assert_eq!(uses, [1, 7]);
    reuse.purge();
    let before = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    reuse.purge();
    assert_ne!(id(&before), id(&envelope.encrypt(PLAINTEXT, ROW).unwrap()));
}

/// No wrapper forwards anything: whatever stands around a keyring, a batch costs it one wrap.
#[test]
fn keyring_within_others_is_spared_its_wraps_too() {
    let (first, second) = (backend(), Scripted::new(ring("backup", 2)));
    let observed =
        envelock::observe::ObservedKeyring::new(envelock::CachingKeyring::new(first.clone()), ());
    let both = MultiKeyring::new(observed).with(second.clone()).unwrap();
    let boxed: Box<dyn Keyring> = Box::new(both);
    assert_eq!(batches(&envelope(boxed, &reuse(3, 1 << 20)), &[1; 9]), [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    assert_eq!((first.calls().0, second.calls().0), (3, 3));
}

/// One value serves for two keyrings without harm: each ends what is not its own.
#[test]
fn batch_of_another_keyring_serves_no_message() {
    let reuse = reuse(1000, 1 << 20);
    let (one, two) = (backend(), Scripted::new(ring("orders", 2)));
    for _ in 0..3 {
        for backend in [&one, &two] {
            let message = envelope(backend.clone(), &reuse).encrypt(PLAINTEXT, ROW).unwrap();
            assert_eq!(Envelope::new(backend).decrypt(&message, ROW).unwrap(), PLAINTEXT);
        }
    }
    assert_eq!((one.calls().0, two.calls().0), (3, 3));
}

/// A child of `fork` begins its own batches, and waits for no thread that it does not have.
#[cfg(unix)]
#[test]
fn forked_child_shares_no_batch_with_its_parent() {
    let reuse = reuse(1000, 1 << 20);
    let envelope = envelope(backend(), &reuse);
    let parent = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    // SAFETY: the child uses no other thread and leaves at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        // SAFETY: ends this process after a while, if it has not ended by itself.
        unsafe { libc::alarm(60) };
        let own = catch_unwind(AssertUnwindSafe(|| {
            let own = [(); 2].map(|()| envelope.encrypt(PLAINTEXT, ROW).unwrap());
            id(&own[0]) == id(&own[1]) && id(&own[0]) != id(&parent)
        }));
        // SAFETY: leaves at once, without what the parent registered for its exit.
        unsafe { libc::_exit(if matches!(own, Ok(true)) { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just started.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child goes on with its parent's batch");
    assert_eq!(id(&envelope.encrypt(PLAINTEXT, ROW).unwrap()), id(&parent));
}

#[test]
fn text_of_a_reuse_names_no_key() {
    let reuse = reuse(5, 500);
    envelope(backend(), &reuse).encrypt(PLAINTEXT, ROW).unwrap();
    let text = format!("{reuse:?}");
    assert!(
        text.starts_with("DataKeyReuse { messages: 5, bytes: 500, age: 60s, stats: "),
        "{text}"
    );
}

/// The plaintext length that a keyring gets, for every form of encryption.
#[test]
fn wrap_sees_the_length_of_the_plaintext_only() {
    struct Recorder(Arc<Scripted>, Mutex<Vec<Option<u64>>>);
    impl Keyring for Recorder {
        fn visit_primaries(
            &self,
            visit: &mut dyn FnMut(&PrimaryKey<'_>),
        ) -> Result<(), KeyringError> {
            self.0.visit_primaries(visit)
        }
        fn wrap(
            &self,
            data_key: &DataKey,
            context: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            rng: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            self.1.lock().unwrap().push(context.plaintext_len());
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
    let reported = Recorder(backend(), Mutex::default());
    let envelope = Envelope::new(&reported);
    let message = envelope.encrypt(&[1; 20_000], ROW).unwrap();
    envelope.encrypt_detached(&[], ROW).unwrap();
    let mut room = vec![0; envelope.message_len(5).unwrap()];
    envelope.encrypt_into(&[1; 5], ROW, &mut room).unwrap();
    let range = envelope.plaintext_range(5).unwrap();
    envelope.encrypt_in_place(&mut room, range, ROW).unwrap();
    reported.0.ring.rotate().unwrap();
    assert!(envelope.rewrap(&message, Default::default()).unwrap().is_changed());
    let lengths = reported.1.lock().unwrap().clone();
    assert_eq!(lengths, [Some(20_000), Some(0), Some(5), Some(5), None]);
}
