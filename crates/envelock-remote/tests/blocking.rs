//! Keyrings on blocking threads: the executor stays free, the answers are the keyring's, no thread is lost.

use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::format::Slot;
use envelock::keyring::{
    Freshness, Keyring, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext,
};
use envelock::{
    Aad, AsyncEnvelope, DataKey, Envelope, Error, KeyName, KeyVersion, Lifecycle, MemoryKeyring,
    RewrapOptions, SlotLabel,
};
use envelock_remote::Blocking;
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet, yield_now};

/// The call of a [`Waiting`] keyring that is to go on.
type Call = mpsc::SyncSender<()>;

/// A keyring whose calls each wait for a task of the executor, and panic if none comes.
struct Waiting {
    keys: MemoryKeyring,
    calls: UnboundedSender<Call>,
}

impl Waiting {
    fn new() -> (Self, UnboundedReceiver<Call>) {
        let (calls, received) = unbounded_channel();
        (Waiting { keys: keys(), calls }, received)
    }

    fn wait(&self) {
        let (go_on, wait) = mpsc::sync_channel(1);
        self.calls.send(go_on).expect("a task that answers");
        wait.recv_timeout(Duration::from_secs(20)).expect("the executor runs its tasks");
    }
}

impl Keyring for Waiting {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.wait();
        self.keys.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wait();
        self.keys.wrap(data_key, context, slots, rng)
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wait();
        self.keys.wrap_under(name, data_key, context, slots, rng)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.wait();
        self.keys.holds(name, visit)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.wait();
        self.keys.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.wait();
        self.keys.freshness(slot)
    }
}

/// Lets every call go on.
fn let_all(mut calls: UnboundedReceiver<Call>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut made = 0;
        while let Some(call) = calls.recv().await {
            made += 1;
            call.send(()).expect("a call that waits");
        }
        made
    })
}

fn keys() -> MemoryKeyring {
    MemoryKeyring::create("orders").unwrap()
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

type OnThreads = AsyncEnvelope<Blocking<Arc<Waiting>>>;

/// Uses every method of a keyring whose calls wait for tasks of the same executor.
async fn use_every_method() {
    let (keyring, calls) = Waiting::new();
    let keyring = Arc::new(keyring);
    let calls = let_all(calls);
    let envelope: OnThreads = AsyncEnvelope::new(Blocking::new(keyring.clone()));
    let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    keyring.keys.rotate().unwrap();
    assert!(envelope.needs_rewrap(&message).await.unwrap());
    let rewrap = envelope.rewrap(&message, RewrapOptions::new()).await.unwrap();
    let mut rewrapped = message.clone();
    rewrap.write_over(&mut rewrapped).unwrap();
    assert!(!envelope.needs_rewrap(&rewrapped).await.unwrap());
    assert_eq!(envelope.decrypt(&rewrapped, Aad::none()).await.unwrap(), b"four boxes");
    drop((envelope, keyring));
    // Five loads of three answers, of which the first has no label, and a wrap, two unwraps, a wrap and an unwrap.
    assert_eq!(calls.await.unwrap(), 2 + 4 * 3 + 5);
}

#[test]
fn only_thread_of_an_executor_stays_free() {
    Builder::new_current_thread().build().unwrap().block_on(use_every_method());
}

#[test]
fn only_worker_of_an_executor_stays_free() {
    let runtime = one_worker();
    let task = runtime.spawn(use_every_method());
    runtime.block_on(task).unwrap();
}

/// A keyring on at most `threads` threads, whose calls the test lets go on, and a message of it.
async fn scene(threads: usize) -> (Arc<OnThreads>, Vec<u8>, UnboundedReceiver<Call>) {
    let (keyring, calls) = Waiting::new();
    let message = Envelope::new(&keyring.keys).encrypt(b"four boxes", Aad::none()).unwrap();
    let keyring = Blocking::builder(Arc::new(keyring)).max_in_flight(threads).build();
    (Arc::new(AsyncEnvelope::new(keyring)), message, calls)
}

fn decrypt(envelope: &Arc<OnThreads>, message: &[u8]) -> JoinHandle<Result<Vec<u8>, Error>> {
    let (envelope, message) = (envelope.clone(), message.to_vec());
    tokio::spawn(async move { envelope.decrypt(&message, Aad::none()).await })
}

#[tokio::test]
async fn dropped_call_gives_its_thread_back() {
    let (envelope, message, mut calls) = scene(1).await;
    let running = decrypt(&envelope, &message);
    let call = calls.recv().await.unwrap();
    let queued = decrypt(&envelope, &message);
    yield_now().await;
    running.abort();
    queued.abort();
    assert!(running.await.unwrap_err().is_cancelled() && queued.await.unwrap_err().is_cancelled());
    let last = decrypt(&envelope, &message);
    yield_now().await;
    assert!(calls.try_recv().is_err(), "a thread too many");
    // What remains of the aborted load, then what the last operation needs: no call for the one in the queue.
    call.send(()).unwrap();
    let made = let_all(calls);
    assert_eq!(last.await.unwrap().unwrap(), b"four boxes");
    drop(envelope);
    let (load, unwrap) = (3, 1);
    assert_eq!(made.await.unwrap() + 1, load + load + unwrap);
}

#[test]
fn call_dropped_before_it_runs_is_not_made() {
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (free, wait) = mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || wait.recv());
        let keyring = Arc::new(FaultyKeyring::new(keys()));
        let blocking = Blocking::builder(keyring.clone()).max_in_flight(1).build();
        let mut queued = Box::pin(blocking.call(|keyring| keyring.visit_primaries(&mut |_| ())));
        assert!(queued.as_mut().now_or_never().is_none());
        drop(queued);
        free.send(()).unwrap();
        other.await.unwrap().unwrap();
        blocking.call(|_| ()).await.unwrap();
        assert_eq!(keyring.calls(Method::Primary), 0);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_callers_go_away() {
    const THREADS: usize = 4;
    let (envelope, message, mut calls) = scene(THREADS).await;
    let tasks: Vec<_> = (0..100).map(|_| decrypt(&envelope, &message)).collect();
    let mut running = Vec::new();
    for _ in 0..THREADS {
        running.push(calls.recv().await.unwrap());
    }
    tasks.iter().step_by(2).for_each(JoinHandle::abort);
    running.drain(..).for_each(|call| call.send(()).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let serve = tokio::spawn(async move {
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                Some(call) = calls.recv() => call.send(()).unwrap(),
                _ = &mut stopped => return calls,
            }
        }
    });
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await {
            Ok(opened) => assert_eq!(opened.unwrap(), b"four boxes"),
            Err(error) => assert!(error.is_cancelled() && number % 2 == 0, "{number}: {error}"),
        }
    }
    // Every thread is there, and no more.
    stop.send(()).unwrap();
    let mut calls = serve.await.unwrap();
    let mut tasks: JoinSet<_> = (0..20)
        .map(|_| decrypt(&envelope, &message))
        .map(|task| async move { task.await.unwrap().unwrap() })
        .collect();
    for _ in 0..THREADS {
        running.push(calls.recv().await.unwrap());
    }
    yield_now().await;
    assert!(calls.try_recv().is_err(), "a thread too many");
    running.drain(..).for_each(|call| call.send(()).unwrap());
    let_all(calls);
    while let Some(opened) = tasks.join_next().await {
        assert_eq!(opened.unwrap(), b"four boxes");
    }
}

#[tokio::test]
async fn calls_in_a_queue_share_their_threads() {
    const THREADS: usize = 2;
    let blocking = Blocking::builder(keys()).max_in_flight(THREADS).build();
    let all_wait = Arc::new(Barrier::new(THREADS + 1));
    let calls = (0..200).map(|number| {
        let waits = (number < THREADS).then(|| all_wait.clone());
        blocking.call(move |_| {
            if let Some(all) = waits {
                all.wait();
            }
            thread::current().id()
        })
    });
    let mut calls = pin!(join_all(calls));
    assert!(calls.as_mut().now_or_never().is_none());
    all_wait.wait();
    let threads: HashSet<_> = calls.await.into_iter().map(Result::unwrap).collect();
    assert!(threads.len() <= THREADS, "{threads:?}");
}

/// Such as futures of a stream that is not polled while its consumer works.
#[tokio::test]
async fn callers_that_do_not_poll_stop_no_other() {
    let blocking = Blocking::builder(keys()).max_in_flight(1).build();
    // The first one lasts until the others were polled once.
    let (all_wait, waits) = mpsc::channel::<()>();
    let mut waits = Some(waits);
    let mut others: Vec<_> = (0..3)
        .map(|number| {
            let waits = waits.take();
            Box::pin(blocking.call(move |_| {
                let _ = waits.map(|waits| waits.recv());
                number
            }))
        })
        .collect();
    for other in &mut others {
        assert!(other.as_mut().now_or_never().is_none());
    }
    drop(all_wait);
    let last = tokio::time::timeout(Duration::from_secs(20), blocking.call(|_| 3));
    assert_eq!(last.await.expect("not for ever").unwrap(), 3);
    let others: Vec<_> = join_all(others).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(others, [0, 1, 2]);
}

/// Compares what an operation returns without its random bytes.
fn assert_same<T: Debug, U: Debug>(one: Result<T, Error>, other: Result<U, Error>, case: &str) {
    assert_eq!(format!("{:?}", one.map(drop)), format!("{:?}", other.map(drop)), "{case}");
}

#[tokio::test]
async fn errors_are_those_of_the_keyring() {
    let keyring = Arc::new(FaultyKeyring::new(keys()));
    let message = Envelope::new(keyring.inner()).encrypt(b"four boxes", Aad::none()).unwrap();
    keyring.inner().rotate().unwrap();
    let (direct, blocking) =
        (Envelope::new(keyring.clone()), AsyncEnvelope::new(Blocking::new(keyring.clone())));
    let error = || io::Error::other("down");
    let faults = [
        Fault::Error(KeyringError::unavailable(error())),
        Fault::Error(KeyringError::throttled(Some(Duration::from_secs(3)), error())),
        Fault::Error(KeyringError::denied(error())),
        Fault::Error(KeyringError::Refused(Refusal::Disabled)),
        Fault::ErrorAfter(KeyringError::broken(error())),
        Fault::WrongKey,
        Fault::NoKey,
        Fault::KeyLength(16),
        Fault::NoSlot,
        Fault::Twice,
        Fault::Freshness(Freshness::Refused(Refusal::UnknownVersion)),
    ];
    use Method::{Freshness as Labels, Holds, Primary, Rewrap, Unwrap, Wrap, WrapUnder};
    for method in [Primary, Wrap, Unwrap, Rewrap, Labels, WrapUnder, Holds] {
        for fault in &faults {
            let case = format!("{fault:?} of {method:?}");
            keyring.heal();
            keyring.always(method, fault.clone());
            let options = RewrapOptions::new().retiring("orders", KeyVersion::FIRST);
            let aad = Aad::none();
            assert_same(direct.encrypt(b"", aad), blocking.encrypt(b"", aad).await, &case);
            assert_same(
                direct.decrypt(&message, aad),
                blocking.decrypt(&message, aad).await,
                &case,
            );
            let rewrapped = blocking.rewrap(&message, options).await;
            assert_same(direct.rewrap(&message, options), rewrapped, &case);
            let (one, other) =
                (direct.needs_rewrap(&message), blocking.needs_rewrap(&message).await);
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{case}");
            let (one, other) = (direct.examine(&message), blocking.examine(&message).await);
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{case}");
        }
    }
}

#[tokio::test]
async fn alias_is_loaded_if_it_is_named() {
    let keyring = Arc::new(keys());
    keyring.set_alias("current", "orders").unwrap();
    let message = Envelope::new(keyring.clone()).encrypt(b"", Aad::none()).unwrap();
    keyring.rotate().unwrap();
    let options = RewrapOptions::new().retiring("current", KeyVersion::FIRST);
    let named = Blocking::builder(keyring.clone()).also_loads("current").build();
    assert!(AsyncEnvelope::new(named).rewrap(&message, options).await.unwrap().is_changed());
    let error = AsyncEnvelope::new(Blocking::new(keyring)).rewrap(&message, options).await;
    let error = error.unwrap_err();
    assert!(!error.is_retryable());
    let text = "keyring is unavailable: key name current is not loaded: name it by \
                `BlockingBuilder::also_loads`";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn panic_goes_on_in_the_caller() {
    let blocking = Blocking::builder(keys()).max_in_flight(1).build();
    let call = blocking.clone();
    let task = tokio::spawn(async move { call.call(|_| panic!("a broken keyring")).await });
    let panic = task.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "a broken keyring");
    assert_eq!(blocking.call(|_| 7).await.unwrap(), 7);
}

fn backend_error(result: Result<(), KeyringError>) -> (bool, String) {
    let error = result.unwrap_err();
    (error.is_retryable(), error.to_string())
}

#[test]
fn call_without_a_runtime_says_so() {
    let blocking = Blocking::new(keys());
    let result = blocking.call(|_| ()).now_or_never().expect("no wait");
    let text = "keyring is unavailable: keyring on blocking threads was awaited outside of a \
                runtime of tokio: await it in a task";
    assert_eq!(backend_error(result), (false, text.into()));
}

#[test]
fn call_of_a_runtime_that_ended_says_so() {
    let blocking = Blocking::builder(keys()).max_in_flight(1).build();
    let runtime = one_worker();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let inside = handle.enter();
    let result = blocking.call(|_| ()).now_or_never().expect("no wait");
    drop(inside);
    let text = "keyring is unavailable: runtime was shut down before it called the keyring";
    assert_eq!(backend_error(result), (true, text.into()));
    // Another runtime has all threads.
    assert_eq!(one_worker().block_on(blocking.call(|_| 7)).unwrap(), 7);
}
