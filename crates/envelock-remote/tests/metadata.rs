//! What the keyring remembers of its keys, and calls that several callers share.

use envelock::keyring::Refusal;
use envelock::keyset::VersionState;
use envelock::{Aad, AsyncEnvelope, Error, KeyVersion};
use envelock_remote::scripted::{Fault, Method, ScriptedService};
use envelock_remote::{CallOptions, RemoteKeyring};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{advance, sleep};

type Remote = AsyncEnvelope<RemoteKeyring<ScriptedService>>;

/// Where the label of slot 0 has its version.
const VERSION: std::ops::Range<usize> = 25..29;

async fn bench() -> (ScriptedService, Arc<Remote>, Vec<u8>) {
    let service = ScriptedService::with_key("orders");
    let calls = CallOptions::default().max_attempts(1).circuit(0, Duration::ZERO);
    let keyring = RemoteKeyring::builder(service.clone(), "orders").calls(calls).build().unwrap();
    let envelope = Arc::new(AsyncEnvelope::new(keyring));
    let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    service.take_calls();
    (service, envelope, message)
}

/// Lets the tasks in the background end.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn metadata_serves_an_outage_for_an_hour_and_then_its_error() {
    let (service, envelope, message) = bench().await;
    for _ in 0..10 {
        advance(Duration::from_secs(5)).await;
        envelope.decrypt(&message, Aad::none()).await.unwrap();
    }
    assert_eq!(service.calls(Method::Describe), 0);
    service.always(Method::Describe, Fault::ServerError);
    // Less than an hour and a minute after the load.
    for _ in 0..55 {
        advance(Duration::from_secs(60)).await;
        envelope.decrypt(&message, Aad::none()).await.unwrap();
        assert!(!envelope.needs_rewrap(&message).await.unwrap());
        settle().await;
    }
    assert!(service.calls(Method::Describe) >= 50);
    advance(Duration::from_secs(600)).await;
    let error = envelope.decrypt(&message, Aad::none()).await.unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable(), "{error}");
    assert!(envelope.encrypt(b"five", Aad::none()).await.unwrap_err().is_retryable());
    service.heal();
    advance(Duration::from_secs(2)).await;
    envelope.decrypt(&message, Aad::none()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn disabled_version_is_refused_without_a_call_once_it_is_seen() {
    let (service, envelope, message) = bench().await;
    service.rotate("orders");
    assert!(service.set_state("orders", KeyVersion::FIRST, VersionState::Disabled));
    for expected in [1, 0, 0] {
        service.take_calls();
        let error = envelope.decrypt(&message, Aad::none()).await.unwrap_err();
        let Error::Refused { refusal, .. } = &error else { panic!("{error}") };
        assert_eq!(*refusal, Refusal::Disabled);
        assert_eq!(service.calls(Method::Decrypt), expected);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn invented_versions_cost_few_calls() {
    let (service, envelope, mut message) = bench().await;
    for round in 0..3 {
        service.take_calls();
        message[VERSION].copy_from_slice(&77_u32.to_be_bytes());
        envelope.decrypt(&message, Aad::none()).await.unwrap_err();
        assert_eq!(service.calls(Method::Describe), usize::from(round == 0));
        assert_eq!(service.calls(Method::Decrypt), 0);
    }
    for version in 1000..3000_u32 {
        message[VERSION].copy_from_slice(&version.to_be_bytes());
        envelope.decrypt(&message, Aad::none()).await.unwrap_err();
    }
    assert!(service.calls(Method::Describe) <= 256, "{}", service.calls(Method::Describe));
    assert_eq!(service.calls(Method::Decrypt), 0);
    // One that exists by now is found once the time is over.
    message[VERSION].copy_from_slice(&1_u32.to_be_bytes());
    advance(Duration::from_secs(11)).await;
    envelope.decrypt(&message, Aad::none()).await.unwrap();
}

/// Nor by a load that began before.
#[tokio::test(start_paused = true)]
async fn forgotten_metadata_is_not_remembered_again() {
    let (service, envelope, message) = bench().await;
    let message: Arc<[u8]> = message.into();
    service.set_latency(Duration::from_secs(1));
    envelope.keyring().forget_metadata();
    let needs_rewrap = || {
        let (envelope, message) = (Arc::clone(&envelope), Arc::clone(&message));
        tokio::spawn(async move { envelope.needs_rewrap(&message).await })
    };
    let early = needs_rewrap();
    sleep(Duration::from_millis(900)).await;
    service.rotate("orders");
    envelope.keyring().forget_metadata();
    let late = needs_rewrap();
    early.await.unwrap().unwrap();
    assert!(late.await.unwrap().unwrap());
    assert!(envelope.needs_rewrap(&message).await.unwrap());
    assert_eq!(service.calls(Method::Describe), 2);
}

#[tokio::test(start_paused = true)]
async fn equal_calls_at_once_are_one_and_outlive_the_caller_that_began() {
    let (service, envelope, message) = bench().await;
    let message: Arc<[u8]> = message.into();
    service.set_latency(Duration::from_millis(20));
    envelope.keyring().forget_metadata();
    let decrypt = || {
        let (envelope, message) = (Arc::clone(&envelope), Arc::clone(&message));
        tokio::spawn(async move { envelope.decrypt(&message, Aad::none()).await })
    };
    let first = decrypt();
    let others: Vec<_> = (0..100).map(|_| decrypt()).collect();
    // In the load of the metadata, then in the decryption.
    sleep(Duration::from_millis(30)).await;
    first.abort();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), b"four boxes");
    }
    assert_eq!([Method::Describe, Method::Decrypt].map(|method| service.calls(method)), [1, 1]);
}
