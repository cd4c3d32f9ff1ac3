//! Asynchronous operations equal the synchronous ones, call a keyring no more often, and can be dropped.

use crate::common::elastic::Elastic;
use crate::common::{below, rng};
use crate::rewrap::compose::{compose, keyring, slots_by_version};
use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::keyring::{
    AsyncKeyring, AsyncKeyringRng, DynAsyncKeyring, Freshness, Inline, KeyringError, KeyringLabels,
    KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext,
};
use envelock::stream::{MessageStart, StreamDecryptor};
use envelock::{
    Aad, AsyncEnvelope, DataKey, Envelope, Error, GrantOptions, KeyName, KeyVersion, Keyring,
    Lifecycle, MemoryKeyring, RewrapOptions, SlotLabel, Suite, format::Slot, inspect,
};
use rand_chacha::ChaCha20Rng;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

/// Polls `future` until it is ready, or `most` times.
fn polled<T>(future: impl Future<Output = T>, most: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..most {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    polled(future, usize::MAX).unwrap()
}

/// Is pending once before and once after each call, and runs `before` with the number of the call.
struct Remote<K, F> {
    keyring: K,
    calls: AtomicUsize,
    before: F,
}

impl<K, F: Fn(usize)> Remote<K, F> {
    fn new(keyring: K, before: F) -> Self {
        Remote { keyring, calls: AtomicUsize::new(0), before }
    }

    async fn call<T>(&self, call: impl FnOnce(&K) -> T) -> T {
        pending_once().await;
        (self.before)(self.calls.fetch_add(1, Relaxed));
        let result = call(&self.keyring);
        pending_once().await;
        result
    }
}

async fn pending_once() {
    let mut was_pending = false;
    poll_fn(|_| match std::mem::replace(&mut was_pending, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl<K: Keyring, F: Fn(usize) + Send + Sync> KeyringLabels for Remote<K, F> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(visit)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot)
    }
}

/// `wrap_under`, `rewrap` and `holds` are those of the traits.
impl<K: Keyring, F: Fn(usize) + Send + Sync> AsyncKeyring for Remote<K, F> {
    async fn prepare(&self, _: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        pending_once().await;
        Ok(())
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.call(|keyring| keyring.wrap(data_key, context, slots, rng)).await
    }

    async fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.call(|keyring| keyring.unwrap(slot, context, data_key)).await
    }
}

fn remote<K: Keyring>(keyring: K) -> AsyncEnvelope<Remote<K, impl Fn(usize) + Send + Sync>> {
    AsyncEnvelope::new(Remote::new(keyring, |_| ()))
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// A header of random slots of `keyring` and of others, each intact or with a changed byte.
fn random_header(
    message: &[u8],
    own: &[Vec<u8>],
    foreign: &[Vec<u8>],
    rng: &mut ChaCha20Rng,
) -> Vec<u8> {
    let mut slots: Vec<Vec<u8>> = [own, foreign].concat();
    for at in (1..slots.len()).rev() {
        slots.swap(at, below(rng, at + 1));
    }
    slots.truncate(1 + below(rng, slots.len()));
    for slot in &mut slots {
        if below(rng, 4) == 0 {
            // In the wrapped key, so that the header parses.
            *slot.last_mut().unwrap() ^= 1;
        }
    }
    compose(message, &slots, below(rng, 40))
}

fn random_state(keyring: &MemoryKeyring, rng: &mut ChaCha20Rng) {
    for number in 1..=3 {
        let _ = match below(rng, 5) {
            0 => keyring.disable(version(number)).map(drop),
            1 => keyring.mark_compromised(version(number)).map(drop),
            2 => keyring.promote(version(number)).map(drop),
            _ => Ok(()),
        };
    }
}

fn assert_same<T: Debug>(one: Result<T, Error>, other: Result<T, Error>, case: &str) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"), "{case}");
}

#[test]
fn operations_equal_synchronous_ones() {
    let mut rng = rng(1);
    let other = keyring("others", 1);
    for case in 0..300 {
        let ring = keyring("orders", 4);
        let suite = Suite::ALL[below(&mut rng, Suite::ALL.len())];
        let (message, own) = slots_by_version(&ring, suite, b"text", Aad::none());
        let (_, foreign) = slots_by_version(&other, suite, b"text", Aad::none());
        let header = random_header(&message, &own, &foreign, &mut rng);
        random_state(&ring, &mut rng);
        let faulty = FaultyKeyring::new(ring);
        let fault = below(&mut rng, 6);
        match fault {
            0 => faulty.always(Method::Wrap, Fault::Error(KeyringError::NoPrimary)),
            1 => faulty.always(Method::Unwrap, Fault::WrongKey),
            2 => faulty.always(Method::Wrap, Fault::NoSlot),
            3 => faulty.always(
                Method::Unwrap,
                Fault::Error(KeyringError::Refused(Refusal::UnknownVersion)),
            ),
            _ => {}
        }
        let sync = Envelope::new(&faulty).with_suite(suite);
        let inline = AsyncEnvelope::from(Envelope::new(Inline::new(&faulty)).with_suite(suite));
        let slow = remote(&faulty);
        let case = format!("case {case}");

        let label = |key: envelock::OpenedKey| format!("{key:?}");
        let expected = || sync.open(&header).map(label);
        assert_same(block_on(inline.open(&header)).map(label), expected(), &case);
        assert_same(block_on(slow.open(&header)).map(label), expected(), &case);
        let expected = || sync.examine(&header);
        assert_same(block_on(inline.examine(&header)), expected(), &case);
        assert_same(block_on(slow.examine(&header)), expected(), &case);
        let expected = || sync.needs_rewrap(&header);
        assert_same(block_on(slow.needs_rewrap(&header)), expected(), &case);
        for names in [&["orders"][..], &["others"], &["orders", "nobody"]] {
            let expected = sync.verify_slots(&header, names);
            assert_same(block_on(slow.verify_slots(&header, names)), expected, &case);
        }
        for name in ["orders", "others", "nobody"] {
            let expected = sync.remove_name(&header, name);
            assert_same(block_on(slow.remove_name(&header, name)), expected, &case);
        }
        let own = version(1 + below(&mut rng, 4) as u32);
        let all = [
            RewrapOptions::new(),
            RewrapOptions::new().trusting_backend(),
            RewrapOptions::new().from_compromised("orders", own),
            RewrapOptions::new().retiring("orders", own),
        ];
        for options in all {
            let expected = || sync.rewrap(&header, options);
            assert_same(block_on(inline.rewrap(&header, options)), expected(), &case);
            // Its rewrap is the provided one, which unwraps.
            if fault > 3 {
                assert_same(block_on(slow.rewrap(&header, options)), expected(), &case);
            }
        }
        let to = keyring("escrow", 1);
        let expected = sync.add_slot(&header, &to, GrantOptions::new());
        let to = Remote::new(to, |_| ());
        assert_same(block_on(slow.add_slot(&header, &to, GrantOptions::new())), expected, &case);
        let opened = block_on(inline.encrypt(b"new", Aad::none()));
        let opened = opened.and_then(|message| sync.decrypt(&message, Aad::none()));
        let expected = sync.encrypt(b"new", Aad::none());
        let expected = expected.and_then(|message| sync.decrypt(&message, Aad::none()));
        assert_same(opened, expected, &case);
    }
}

#[test]
fn results_of_rewraps_open_synchronously() {
    let ring = Arc::new(keyring("orders", 3));
    let (message, slots) = slots_by_version(&ring, Suite::default(), b"text", Aad::none());
    let header = compose(&message, &slots[..2], 0);
    let envelope = remote(ring.clone());
    let rewrap = block_on(envelope.rewrap(&header, RewrapOptions::new())).unwrap();
    let labels: Vec<_> = inspect(rewrap.header()).unwrap().slots().collect();
    assert_eq!(labels.len(), 1);
    assert_eq!(labels[0].label.version, version(3));
    Envelope::new(&*ring).open(rewrap.header()).unwrap();
    let escrow = keyring("escrow", 1);
    let to = Remote::new(&escrow, |_| ());
    let added = block_on(envelope.add_slot(&message, &to, GrantOptions::new())).unwrap();
    assert!(added.is_changed());
    Envelope::new(&escrow).open(added.header()).unwrap();
    let removed = block_on(remote(&escrow).remove_name(added.header(), "orders")).unwrap();
    Envelope::new(&escrow).open(removed.header()).unwrap();
    let unopened = Envelope::new(&*ring).open(removed.header());
    assert!(matches!(unopened, Err(Error::NoKey { .. })), "{unopened:?}");
}

#[test]
fn each_operation_makes_each_call_once() {
    let ring = keyring("orders", 2);
    ring.promote(version(1)).unwrap();
    let envelope = remote(&ring);
    let calls = || envelope.keyring().calls.swap(0, Relaxed);
    let message = block_on(envelope.encrypt(b"text", Aad::none())).unwrap();
    assert_eq!(calls(), 1, "a wrap");
    block_on(envelope.decrypt(&message, Aad::none())).unwrap();
    assert_eq!(calls(), 1, "an unwrap");
    block_on(envelope.needs_rewrap(&message)).unwrap();
    assert_eq!(calls(), 0, "labels alone");
    ring.promote(version(2)).unwrap();
    let rewrap = block_on(envelope.rewrap(&message, RewrapOptions::new())).unwrap();
    assert!(rewrap.is_changed());
    assert_eq!(calls(), 3, "an unwrap, a wrap, and the unwrap that proves it");
    let verified =
        AsyncEnvelope::from(Envelope::new(Remote::new(&ring, |_: usize| ())).with_wraps_verified());
    block_on(verified.encrypt(b"text", Aad::none())).unwrap();
    assert_eq!(verified.keyring().calls.swap(0, Relaxed), 2, "a wrap and its proof");
}

#[test]
fn future_that_is_dropped_has_no_effect() {
    let ring = keyring("orders", 2);
    ring.promote(version(1)).unwrap();
    let message = Envelope::new(&ring).encrypt(b"text", Aad::none()).unwrap();
    ring.promote(version(2)).unwrap();
    let envelope = remote(&ring);
    let mut polls = 0;
    let rewrap = loop {
        polls += 1;
        if let Some(rewrap) = polled(envelope.rewrap(&message, RewrapOptions::new()), polls) {
            break rewrap.unwrap();
        }
        assert!(envelope.keyring().calls.load(Relaxed) < 100);
    };
    // `prepare`, and two for each of three calls.
    assert_eq!(polls, 8);
    ring.disable(version(1)).unwrap();
    Envelope::new(&ring).open(rewrap.header()).unwrap();
}

#[test]
fn rotation_between_calls_leaves_messages_that_open() {
    for at in 0..6 {
        let ring = Arc::new(keyring("orders", 4));
        ring.promote(version(2)).unwrap();
        let (message, slots) = slots_by_version(&ring, Suite::default(), b"text", Aad::none());
        let header = compose(&message, &slots[..1], 0);
        let changed = ring.clone();
        let before = move |call| {
            if call == at {
                changed.promote(version(3)).unwrap();
                changed.disable(version(2)).unwrap();
            }
        };
        let envelope = AsyncEnvelope::new(Remote::new(ring.clone(), before));
        match block_on(envelope.rewrap(&header, RewrapOptions::new())) {
            Ok(rewrap) => drop(Envelope::new(&*ring).open(rewrap.header()).unwrap()),
            // The wrap was under version 2, and version 2 no longer proves it.
            Err(error) => assert!(matches!(error, Error::Refused { .. }), "{at}: {error:?}"),
        }
        Envelope::new(&*ring).open(&header).unwrap();
        let message = block_on(envelope.encrypt(b"text", Aad::none())).unwrap();
        Envelope::new(&*ring).open(&message).unwrap();
    }
}

/// Claims slots that are too short at its first two visits.
struct ShortClaim(Elastic, AtomicUsize);

impl Keyring for ShortClaim {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let is_short = self.1.fetch_add(1, Relaxed) < 2;
        self.0.visit_primaries(&mut |primary| {
            let max_wrapped_key_len =
                primary.max_wrapped_key_len.map(|len| len - usize::from(is_short));
            visit(&PrimaryKey { max_wrapped_key_len, ..*primary });
        })
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
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

#[test]
fn second_attempt_of_an_encryption_wraps_its_own_data_key() {
    let ring = ShortClaim(Elastic::new(100, 0), AtomicUsize::new(0));
    let envelope = remote(&ring);
    let message = block_on(envelope.encrypt(b"text", Aad::none())).unwrap();
    assert_eq!(envelope.keyring().calls.load(Relaxed), 2, "a wrap for each data key");
    assert_eq!(Envelope::new(&ring).decrypt(&message, Aad::none()).unwrap(), b"text");
}

#[test]
fn backend_that_cannot_prepare_is_not_called() {
    struct Unprepared;

    impl KeyringLabels for Unprepared {
        fn visit_primaries(&self, _: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
            panic!("it is not prepared")
        }
    }

    impl AsyncKeyring for Unprepared {
        async fn prepare(&self, _: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
            Err(KeyringError::unavailable(std::io::Error::other("no network")))
        }

        async fn wrap(
            &self,
            _: &DataKey,
            _: &WrapContext<'_>,
            _: &mut SlotWriter<'_>,
            _: &mut AsyncKeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            panic!("it is not prepared")
        }

        async fn unwrap(
            &self,
            _: &Slot<'_>,
            _: &WrapContext<'_>,
            _: &mut DataKey,
        ) -> Result<(), KeyringError> {
            panic!("it is not prepared")
        }
    }

    let envelope = AsyncEnvelope::new(Unprepared);
    let message = Envelope::new(keyring("orders", 1)).encrypt(b"text", Aad::none()).unwrap();
    let error = block_on(envelope.encrypt(b"text", Aad::none())).unwrap_err();
    assert!(matches!(&error, Error::Backend(_)) && error.is_retryable(), "{error:?}");
    let error = block_on(envelope.decrypt(&message, Aad::none())).unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    // What is no message costs no call.
    let error = block_on(envelope.decrypt(b"no message", Aad::none())).unwrap_err();
    assert!(matches!(error, Error::NotEnvelock { .. }), "{error:?}");
}

#[test]
fn streams_encrypt_and_decrypt_after_one_call() {
    let ring = keyring("orders", 2);
    let envelope = remote(&ring);
    let plaintext = vec![7; 100_000];
    let mut stream = block_on(envelope.stream_encryptor(Aad::none())).unwrap();
    let mut message = vec![0; 200_000];
    let progress = stream.update(&plaintext, &mut message).unwrap();
    assert_eq!(progress.consumed, plaintext.len());
    let len = progress.produced + stream.finish(&mut message[progress.produced..]).unwrap();
    message.truncate(len);
    assert_eq!(Envelope::new(&ring).decrypt(&message, Aad::none()).unwrap(), plaintext);

    let mut start = MessageStart::new();
    let taken = start.update(&message).unwrap();
    let mut stream: StreamDecryptor =
        block_on(envelope.stream_decryptor(&start, Aad::none())).unwrap();
    let mut opened = vec![0; 200_000];
    let progress = stream.update(&message[taken..], &mut opened).unwrap();
    let len = progress.produced + stream.finish(&mut opened[progress.produced..]).unwrap();
    assert_eq!(opened[..len], plaintext);

    let len = message.len() as u64;
    let range = block_on(envelope.range_decryptor(&start, len, Aad::none())).unwrap();
    assert_eq!(range.unverified_len(), plaintext.len() as u64);

    let mut stream = block_on(envelope.stream_encryptor(Aad::none())).unwrap();
    let _ = stream.update(&plaintext, &mut message).unwrap();
    ring.promote(version(1)).unwrap();
    ring.disable(version(2)).unwrap();
    let refused = stream.finish(&mut message).unwrap_err();
    assert!(matches!(refused, Error::StreamRefused { .. }), "{refused:?}");
}

#[test]
fn trait_objects_and_pointers_run_on_other_threads() {
    let ring: Arc<dyn DynAsyncKeyring> = Arc::new(Remote::new(keyring("orders", 1), |_: usize| ()));
    let envelope = Arc::new(AsyncEnvelope::new(ring));
    let task = |envelope: Arc<AsyncEnvelope<Arc<dyn DynAsyncKeyring>>>| async move {
        let message = envelope.encrypt(b"text", Aad::none()).await?;
        let to = Inline::new(keyring("escrow", 1));
        let added = envelope.add_slot(&message, &to, GrantOptions::new()).await?;
        assert!(envelope.keyring().holds_name("orders"));
        let rewrap = envelope.rewrap(added.header(), RewrapOptions::new()).await?;
        assert!(!rewrap.is_changed());
        envelope.decrypt(&message, Aad::none()).await
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let future = task(envelope.clone());
            std::thread::spawn(|| block_on(future))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), b"text");
    }
}

trait HoldsName {
    fn holds_name(&self, name: &str) -> bool;
}

impl<K: KeyringLabels> HoldsName for K {
    fn holds_name(&self, name: &str) -> bool {
        let mut found = false;
        self.holds(KeyName::new(name).unwrap(), &mut |_| found = true).unwrap();
        found
    }
}
