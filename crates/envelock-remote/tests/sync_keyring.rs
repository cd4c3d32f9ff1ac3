//! The synchronous face, inside and outside of runtimes.

use envelock::format::Slot;
use envelock::keyring::{
    AsyncKeyring, AsyncKeyringRng, Freshness, Inline, KeyringError, KeyringLabels, PrimaryKey,
    SlotWriter, WrapContext,
};
use envelock::{Aad, DataKey, Envelope, KeyName, Keyring, Lifecycle, MemoryKeyring, SlotLabel};
use envelock_remote::scripted::{Fault, Method, ScriptedService};
use envelock_remote::{RemoteKeyring, StartError, SyncKeyring};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// A keyring whose calls wait for a timer, for many small steps of a socket and for a task of its runtime.
struct Slow {
    keys: Inline<MemoryKeyring>,
    echo: Mutex<TcpStream>,
    runtime: Handle,
}

impl Slow {
    /// Builds it on the runtime where its socket shall live.
    async fn connect() -> io::Result<Slow> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let (mut read, mut write) = socket.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let keys = Inline::new(MemoryKeyring::create("orders").expect("a key"));
        Ok(Slow {
            keys,
            echo: Mutex::new(TcpStream::connect(address).await?),
            runtime: Handle::current(),
        })
    }

    async fn call(&self) {
        sleep(Duration::from_millis(1)).await;
        let mut echo = self.echo.lock().await;
        // More steps than the budget of a task, which is 128.
        for byte in 0..200 {
            echo.write_all(&[byte]).await.expect("an open socket");
            assert_eq!(echo.read_u8().await.expect("an echo"), byte);
        }
        tokio::spawn(sleep(Duration::from_millis(1))).await.expect("a task of the runtime");
        tokio::task::spawn_blocking(|| ()).await.expect("a blocking task of the runtime");
    }
}

impl KeyringLabels for Slow {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keys.visit_primaries(visit)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keys.freshness(slot)
    }
}

impl AsyncKeyring for Slow {
    async fn prepare(&self, _: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        Ok(())
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.call().await;
        self.keys.wrap(data_key, context, slots, rng).await
    }

    async fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.call().await;
        self.keys.unwrap(slot, context, data_key).await
    }
}

type Sync = Envelope<SyncKeyring<Slow>>;

fn envelope() -> Sync {
    Envelope::new(SyncKeyring::start(Slow::connect).expect("a thread and a socket"))
}

fn round_trip(envelope: &Sync) {
    let message = envelope.encrypt(b"four boxes", Aad::none()).expect("a message");
    assert_eq!(envelope.decrypt(&message, Aad::none()).expect("its plaintext"), b"four boxes");
}

fn runtimes() -> [Runtime; 2] {
    let current_thread = Builder::new_current_thread().enable_all().build();
    let multi_thread = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    [current_thread, multi_thread].map(|runtime| runtime.expect("a runtime"))
}

#[test]
fn call_on_a_plain_thread_succeeds() {
    round_trip(&envelope());
}

#[test]
fn start_call_and_drop_inside_runtimes_of_others_succeed() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let outside = Arc::new(envelope());
            round_trip(&outside);
            let inside = tokio::spawn(async {
                let envelope = envelope();
                round_trip(&envelope);
            });
            inside.await.expect("a call from a task");
            let shared = Arc::clone(&outside);
            let blocking = tokio::task::spawn_blocking(move || round_trip(&shared));
            blocking.await.expect("a call from a blocking thread");
            tokio::spawn(async move { drop(outside) }).await.expect("a drop in a task");
        });
    }
}

/// A task that has used up its budget, whose timers would be pending for ever.
#[test]
fn call_from_a_task_without_budget_ends() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let envelope = envelope();
            let task = tokio::spawn(async move {
                let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
                for _ in 0..1000 {
                    let _ = send.send(());
                }
                // One poll takes until the budget is at its end.
                let exhausted = std::future::poll_fn(|context| {
                    while receive.poll_recv(context).is_ready() {}
                    round_trip(&envelope);
                    std::task::Poll::Ready(())
                });
                exhausted.await;
            });
            task.await.expect("a call from a task without budget");
        });
    }
}

/// A scheduler wakes what yields to it between its tasks, and this task stops it.
#[test]
fn second_attempt_of_a_batch_ends_in_a_task() {
    for runtime in runtimes() {
        let max_batch = NonZeroUsize::new(8).expect("not zero");
        let service = ScriptedService::with_key("orders").with_max_batch(max_batch);
        let backend = service.clone();
        let keyring = SyncKeyring::start(async || RemoteKeyring::new(backend, "orders"));
        let envelope = Envelope::new(keyring.expect("a thread"));
        let message = envelope.encrypt(b"four boxes", Aad::none()).expect("a message");
        service.set_latency(Duration::from_millis(20));
        service.next(Method::Decrypt, [Some(Fault::ServerError)]);
        let decrypt = async move { envelope.decrypt(&message, Aad::none()) };
        let opened = runtime.block_on(runtime.spawn(decrypt)).expect("a task that ends");
        assert_eq!(opened.expect("within the deadline"), b"four boxes");
    }
}

#[test]
fn calls_of_64_threads_and_of_tasks_at_once_succeed() {
    let envelope = Arc::new(envelope());
    let runtimes = runtimes();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| (0..3).for_each(|_| round_trip(&envelope)));
        }
        for runtime in &runtimes {
            scope.spawn(|| {
                runtime.block_on(async {
                    let tasks = (0..16).map(|_| {
                        let envelope = Arc::clone(&envelope);
                        tokio::spawn(async move { round_trip(&envelope) })
                    });
                    for task in tasks.collect::<Vec<_>>() {
                        task.await.expect("a call from a task");
                    }
                });
            });
        }
    });
}

#[test]
fn messages_are_those_of_other_keyrings() {
    let keys = Arc::new(MemoryKeyring::create("orders").expect("a key"));
    let shared = Arc::clone(&keys);
    let keyring = SyncKeyring::start(async || Ok::<_, io::Error>(Inline::new(shared)));
    let envelope = Envelope::new(keyring.expect("a thread"));
    let direct = Envelope::new(Arc::clone(&keys));
    let message = direct.encrypt(b"four boxes", Aad::none()).expect("a message");
    assert_eq!(envelope.decrypt(&message, Aad::none()).expect("its plaintext"), b"four boxes");
    keys.rotate().expect("a version");
    assert!(envelope.needs_rewrap(&message).expect("a freshness"));
    let mut found = Vec::new();
    let name = KeyName::new("orders").expect("a name");
    envelope.keyring().holds(name, &mut |name| found.push(name.to_string())).expect("names");
    assert_eq!(found, ["orders"]);
}

#[test]
fn error_and_panic_of_the_builder_are_the_callers() {
    let refused = SyncKeyring::<Slow>::start(async || Err(io::Error::other("no route")));
    assert!(matches!(&refused, Err(StartError::Build(error)) if error.to_string() == "no route"));
    let panicked = std::panic::catch_unwind(|| {
        SyncKeyring::<Slow>::start(async || -> io::Result<Slow> {
            panic!("a fault of the builder")
        })
    });
    let panic = panicked.expect_err("the builder's panic");
    assert_eq!(panic.downcast_ref(), Some(&"a fault of the builder"));
}

/// Its calls would stop the thread that they wait for.
#[test]
fn call_on_the_own_thread_is_refused() {
    let envelope = Arc::new(envelope());
    let shared = Arc::clone(&envelope);
    let handle = envelope.keyring().keyring().runtime.clone();
    let task = handle.spawn(async move { shared.encrypt(b"four boxes", Aad::none()).map(drop) });
    let [runtime, _] = runtimes();
    let ended = runtime.block_on(task).expect("a task that ends");
    let error = ended.expect_err("a refusal");
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "keyring is unavailable: synchronous keyring was called on the thread of its own runtime, \
         which it would stop"
    );
    round_trip(&envelope);
}
