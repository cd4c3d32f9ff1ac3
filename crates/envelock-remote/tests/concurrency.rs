//! Thousands of operations at once, on a paused clock: outages, cancellation, permits, deadlines.

use envelock::{Aad, AsyncEnvelope, Error};
use envelock_remote::scripted::{Fault, Method, ScriptedService};
use envelock_remote::{CallOptions, RemoteKeyring, with_deadline};
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const MESSAGES: usize = 2000;
const IN_FLIGHT: usize = 64;
const LATENCY: Duration = Duration::from_millis(20);

/// A service, an envelope over it, and messages under keys of their own.
struct Bench {
    service: ScriptedService,
    envelope: Arc<AsyncEnvelope<RemoteKeyring<ScriptedService>>>,
    messages: Vec<Arc<[u8]>>,
}

type Opened = (usize, Result<Vec<u8>, Error>);

impl Bench {
    async fn new(service: ScriptedService, calls: CallOptions) -> Self {
        let keyring = RemoteKeyring::builder(service.clone(), "orders").calls(calls);
        let envelope = Arc::new(AsyncEnvelope::new(keyring.build().unwrap()));
        let mut messages = Vec::new();
        for number in 0..MESSAGES {
            let plaintext = number.to_be_bytes();
            let message = envelope.encrypt(&plaintext, Aad::none()).await.unwrap();
            messages.push(Arc::from(message));
        }
        service.set_latency(LATENCY);
        service.take_calls();
        Bench { service, envelope, messages }
    }

    /// Begins to decrypt every message, each by a task.
    fn decrypt_all(&self, deadline: Instant) -> JoinSet<Opened> {
        let mut tasks = JoinSet::new();
        for (number, message) in self.messages.iter().cloned().enumerate() {
            let envelope = Arc::clone(&self.envelope);
            tasks.spawn(async move {
                let decrypted = envelope.decrypt(&message, Aad::none());
                (number, with_deadline(deadline, decrypted).await)
            });
        }
        tasks
    }

    /// Checks that no permit is lost: as many calls as ever run at once, and in the least time.
    async fn check_permits(&self) {
        assert_eq!(self.service.running(), 0);
        self.service.heal();
        let began = Instant::now();
        let opened = self.decrypt_all(began + Duration::from_secs(60)).join_all().await;
        assert!(opened.iter().all(|(_, result)| result.is_ok()));
        let waves = u32::try_from(MESSAGES.div_ceil(IN_FLIGHT)).unwrap();
        let most = LATENCY * (waves + 1);
        assert!(began.elapsed() <= most, "{:?} is more than {most:?}", began.elapsed());
        assert_eq!((self.service.running(), self.service.most_running()), (0, IN_FLIGHT));
    }
}

/// Panics if a message that opened is another one.
fn count_opened(opened: &[Opened]) -> usize {
    let right = |(number, result): &&Opened| match result {
        Ok(plaintext) => {
            assert_eq!(*plaintext, number.to_be_bytes());
            true
        }
        Err(_) => false,
    };
    opened.iter().filter(right).count()
}

fn options() -> CallOptions {
    let mut state = 1_u64;
    let jitter = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state
    };
    CallOptions::default().max_in_flight(IN_FLIGHT).jitter(jitter)
}

#[tokio::test(start_paused = true)]
async fn decrypts_take_the_least_time_that_the_permits_allow() {
    let bench = Bench::new(ScriptedService::with_key("orders"), options()).await;
    bench.check_permits().await;
    assert_eq!(bench.service.calls(Method::Decrypt), MESSAGES);
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_turn_share_full_batches() {
    let service =
        ScriptedService::with_key("orders").with_max_batch(NonZeroUsize::new(250).unwrap());
    let bench = Bench::new(service, options()).await;
    let began = Instant::now();
    let opened = bench.decrypt_all(began + Duration::from_secs(60)).join_all().await;
    assert_eq!((count_opened(&opened), bench.service.calls(Method::Decrypt)), (MESSAGES, 8));
    assert!(began.elapsed() <= LATENCY + Duration::from_millis(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn outage_in_the_middle_costs_time_and_no_message() {
    for fault in [Fault::ServerError, Fault::Reset, Fault::Hang, Fault::Throttled(None)] {
        let options = options().deadline(Duration::from_secs(60)).max_attempts(100);
        let bench = Bench::new(ScriptedService::with_key("orders"), options).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        let tasks = bench.decrypt_all(deadline);
        sleep(LATENCY * 10).await;
        bench.service.fail(fault);
        sleep(Duration::from_secs(5)).await;
        bench.service.heal();
        let opened = tasks.join_all().await;
        assert_eq!(count_opened(&opened), MESSAGES);
        assert!(Instant::now() < deadline);
        bench.check_permits().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_starts_after_its_deadline() {
    for fault in [Fault::ServerError, Fault::Hang] {
        let options = options().max_attempts(100);
        let bench = Bench::new(ScriptedService::with_key("orders"), options).await;
        bench.service.fail(fault);
        let deadline = Instant::now() + Duration::from_secs(2);
        let opened = bench.decrypt_all(deadline).join_all().await;
        assert_eq!(count_opened(&opened), 0);
        assert!(Instant::now() <= deadline + Duration::from_millis(1));
        // Nothing goes on afterwards.
        sleep(Duration::from_secs(60)).await;
        let calls = bench.service.take_calls();
        assert!(!calls.is_empty() && calls.iter().all(|call| call.at < deadline));
        bench.check_permits().await;
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_half_frees_its_permits_at_once() {
    let bench = Bench::new(ScriptedService::with_key("orders"), options()).await;
    bench.service.fail(Fault::Hang);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut kept = JoinSet::new();
    let mut cancelled = Vec::new();
    for (number, message) in bench.messages.iter().cloned().enumerate() {
        let envelope = Arc::clone(&bench.envelope);
        let decrypt = async move {
            (number, with_deadline(deadline, envelope.decrypt(&message, Aad::none())).await)
        };
        match number % 2 {
            0 => cancelled.push(tokio::spawn(decrypt)),
            _ => drop(kept.spawn(decrypt)),
        }
    }
    sleep(LATENCY).await;
    assert_eq!(bench.service.running(), IN_FLIGHT);
    bench.service.heal();
    cancelled.iter().for_each(tokio::task::JoinHandle::abort);
    let opened = kept.join_all().await;
    assert_eq!(count_opened(&opened), MESSAGES / 2);
    for task in cancelled {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    bench.check_permits().await;
}

/// A stream that is not polled while its consumer awaits another call must not keep the permits from that one.
#[tokio::test(start_paused = true)]
async fn callers_that_are_not_polled_keep_no_permit() {
    let bench = Bench::new(ScriptedService::with_key("orders"), options()).await;
    let mut messages = bench.messages.iter();
    let envelope = &*bench.envelope;
    let decrypt = |message| async move { envelope.decrypt(message, Aad::none()).await };
    let began = Instant::now();
    let decrypts = stream::iter(messages.by_ref().take(300)).map(|message| decrypt(message));
    let mut opened = pin!(decrypts.buffered(IN_FLIGHT * 2));
    let mut count = 0;
    while let Some(plaintext) = opened.next().await {
        let again = envelope.encrypt(&plaintext.unwrap(), Aad::none()).await.unwrap();
        assert!(envelope.decrypt(&again, Aad::none()).await.is_ok());
        count += 1;
    }
    assert_eq!(count, 300);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    bench.check_permits().await;
}

/// The same of a caller that waits for the description of another key.
#[tokio::test(start_paused = true)]
async fn caller_that_is_not_polled_describes() {
    let service = ScriptedService::with_key("orders");
    service.create("letters");
    let letters = AsyncEnvelope::new(RemoteKeyring::new(service.clone(), "letters").unwrap());
    let message = letters.encrypt(b"four boxes", Aad::none()).await.unwrap();
    let keyring = RemoteKeyring::builder(service.clone(), "orders").also_opens("letters");
    let keyring = keyring.calls(options().max_in_flight(1)).build().unwrap();
    let envelope = AsyncEnvelope::new(keyring);
    service.set_latency(LATENCY);
    let first = envelope.encrypt(b"four boxes", Aad::none());
    let mut idle = pin!(envelope.decrypt(&message, Aad::none()));
    let (first, ()) = tokio::join!(first, async {
        sleep(LATENCY / 2).await;
        assert!(idle.as_mut().now_or_never().is_none());
    });
    first.unwrap();
    envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    assert_eq!(idle.await.unwrap(), b"four boxes");
}

/// A back end that panics: each of its callers does.
#[tokio::test(start_paused = true)]
async fn panic_of_the_back_end_reaches_its_callers() {
    let service =
        ScriptedService::with_key("orders").with_max_batch(NonZeroUsize::new(250).unwrap());
    let bench = Bench::new(service, options()).await;
    bench.service.next(Method::Decrypt, [Some(Fault::Panic)]);
    let mut opened = bench.decrypt_all(Instant::now() + Duration::from_secs(60));
    let mut panics = 0;
    while let Some(ended) = opened.join_next().await {
        match ended {
            Ok((_, result)) => drop(result.unwrap()),
            Err(error) => {
                assert!(error.is_panic());
                panics += 1;
            }
        }
    }
    assert_eq!((panics, bench.service.running()), (250, 0));
    let opened = bench.decrypt_all(Instant::now() + Duration::from_secs(60)).join_all().await;
    assert_eq!(count_opened(&opened), MESSAGES);
}
