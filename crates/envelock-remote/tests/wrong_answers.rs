//! A service that answers wrongly: an exact error or a second call, and never a message that does not open.

use envelock::{Aad, AsyncEnvelope, Error, RewrapOptions, SlotOutcome, inspect};
use envelock_remote::scripted::{Fault, Method, ScriptedService};
use envelock_remote::{CallOptions, RemoteKeyring};
use std::time::Duration;

/// Where the label of slot 0 has the id of its master key.
const ID: std::ops::Range<usize> = 29..37;

/// What the answer to a wrap can have wrong.
const WRONG_WRAPS: [Fault; 9] = [
    Fault::OtherPlaintext,
    Fault::Truncated,
    Fault::Empty,
    Fault::VersionBefore,
    Fault::VersionAfter,
    Fault::OtherMasterKey,
    Fault::NoContext,
    Fault::MissingAnswer,
    Fault::Garbage,
];

type Remote = AsyncEnvelope<RemoteKeyring<ScriptedService>>;

fn envelope() -> (ScriptedService, Remote) {
    let service = ScriptedService::with_key("orders");
    let calls = CallOptions::default().circuit(0, Duration::ZERO);
    let keyring = RemoteKeyring::builder(service.clone(), "orders").calls(calls).build().unwrap();
    (service, AsyncEnvelope::new(keyring))
}

async fn opens(envelope: &Remote, message: &[u8]) -> bool {
    envelope.decrypt(message, Aad::none()).await.is_ok_and(|plaintext| plaintext == b"four boxes")
}

fn is_final_backend_error(error: &Error) -> bool {
    matches!(error, Error::Backend(_)) && !error.is_retryable()
}

#[tokio::test(start_paused = true)]
async fn wrong_wrap_is_an_error_or_costs_a_second_call() {
    for fault in WRONG_WRAPS {
        // Every answer is wrong.
        let (service, envelope) = envelope();
        service.rotate("orders");
        service.always(Method::Encrypt, fault);
        let error = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap_err();
        assert!(is_final_backend_error(&error), "{fault:?}: {error}");
        // One is: the message that is returned opens.
        service.heal();
        service.next(Method::Encrypt, [Some(fault)]);
        match envelope.encrypt(b"four boxes", Aad::none()).await {
            Ok(message) => {
                assert!(opens(&envelope, &message).await, "{fault:?}");
                let (_, fresh) = (service.rotate("orders"), RemoteKeyring::new(service, "orders"));
                assert!(opens(&AsyncEnvelope::new(fresh.unwrap()), &message).await, "{fault:?}");
            }
            Err(error) => assert!(is_final_backend_error(&error), "{fault:?}: {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_proof_writes_no_message() {
    for fault in [Fault::OtherPlaintext, Fault::Truncated, Fault::MissingAnswer, Fault::Garbage] {
        let (service, envelope) = envelope();
        service.always(Method::Decrypt, fault);
        let error = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap_err();
        assert!(is_final_backend_error(&error), "{fault:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_data_key_opens_nothing() {
    for fault in [Fault::OtherPlaintext, Fault::Truncated, Fault::MissingAnswer, Fault::Garbage] {
        let (service, envelope) = envelope();
        let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
        service.always(Method::Decrypt, fault);
        let error = envelope.decrypt(&message, Aad::none()).await.unwrap_err();
        assert!(!error.is_retryable(), "{fault:?}: {error}");
        service.heal();
        assert!(opens(&envelope, &message).await, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_answer_to_a_rewrap_loses_no_message() {
    for method in [Method::Encrypt, Method::Decrypt] {
        for fault in WRONG_WRAPS {
            let (service, envelope) = envelope();
            let mut message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
            service.rotate("orders");
            envelope.keyring().forget_metadata();
            service.always(method, fault);
            let len = inspect(&message).unwrap().len();
            if let Ok(rewrap) = envelope.rewrap(&message[..len], RewrapOptions::new()).await {
                message.splice(..len, rewrap.header().iter().copied());
            }
            service.heal();
            envelope.keyring().forget_metadata();
            assert!(opens(&envelope, &message).await, "{method:?} {fault:?}");
        }
    }
}

/// The label of a slot is the version of the answer, not the primary that was cached.
#[tokio::test(start_paused = true)]
async fn rotation_behind_the_keyring_labels_by_the_answer() {
    let (service, envelope) = envelope();
    envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    let version = service.rotate("orders").unwrap();
    let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    let label = inspect(&message).unwrap().slots().next().unwrap().label;
    assert_eq!(label.version, version);
    assert!(opens(&envelope, &message).await);
}

/// A message under the label of a key that is gone would be nobody's.
#[tokio::test(start_paused = true)]
async fn key_created_anew_labels_by_its_own_id() {
    for reports_ids in [false, true] {
        let (service, envelope) = envelope();
        if reports_ids {
            service.report_ids();
        }
        let former = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
        service.create("orders");
        service.take_calls();
        let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
        envelope.keyring().forget_metadata();
        assert!(opens(&envelope, &message).await, "{reports_ids}");
        let error = envelope.decrypt(&former, Aad::none()).await.unwrap_err();
        assert!(matches!(error, Error::NoKey { .. }), "{error}");
    }
}

/// As it happens while a call is on its way: each wrap is another key's than the one described before it.
#[tokio::test(start_paused = true)]
async fn key_created_anew_after_each_wrap_is_an_error() {
    let (service, envelope) = envelope();
    service.set_latency(Duration::from_secs(1));
    let creations = async {
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(1000)).await;
            service.create("orders");
        }
    };
    let encrypt = envelope.encrypt(b"four boxes", Aad::none());
    let (result, ()) = tokio::join!(encrypt, creations);
    let error = result.unwrap_err();
    assert!(is_final_backend_error(&error), "{error}");
}

/// Slots of a key that was created since the metadata was loaded, as of another process.
#[tokio::test(start_paused = true)]
async fn foreign_id_loads_the_metadata_once() {
    let (service, envelope) = envelope();
    envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    service.create("orders");
    let other = AsyncEnvelope::new(RemoteKeyring::new(service.clone(), "orders").unwrap());
    let message = other.encrypt(b"four boxes", Aad::none()).await.unwrap();
    assert!(opens(&envelope, &message).await);
    // An id that is invented costs one call for a while.
    let mut invented = message;
    invented[ID].fill(7);
    service.take_calls();
    for _ in 0..9 {
        assert!(!opens(&envelope, &invented).await);
    }
    assert_eq!((service.calls(Method::Describe), service.calls(Method::Decrypt)), (1, 0));
}

/// Only under this option does the data key stay at the service, and the report says that nobody has proven the slot.
#[tokio::test(start_paused = true)]
async fn rewrap_at_the_service_needs_the_option_that_trusts_it() {
    let (service, envelope) = envelope();
    let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    service.rotate("orders");
    envelope.keyring().forget_metadata();
    service.take_calls();
    let rewrap = envelope.rewrap(&message, RewrapOptions::new()).await.unwrap();
    assert!(matches!(rewrap.report().slots(), [SlotOutcome::Rewrapped]));
    assert!(!rewrap.report().relied_on_backend());
    assert_eq!((service.calls(Method::Reencrypt), service.calls(Method::Encrypt)), (0, 1));
    service.take_calls();
    let trusting = RewrapOptions::new().trusting_backend();
    let rewrap = envelope.rewrap(&message, trusting).await.unwrap();
    assert!(matches!(rewrap.report().slots(), [SlotOutcome::Trusted]));
    assert!(rewrap.is_changed() && rewrap.report().relied_on_backend());
    let calls = [Method::Reencrypt, Method::Encrypt, Method::Decrypt].map(|m| service.calls(m));
    assert_eq!(calls, [1, 0, 0]);
    let body = &message[inspect(&message).unwrap().len()..];
    assert!(opens(&envelope, &[rewrap.header(), body].concat()).await);
}

#[tokio::test(start_paused = true)]
async fn service_that_cannot_re_encrypt_says_so() {
    let (service, envelope) = envelope();
    let message = envelope.encrypt(b"four boxes", Aad::none()).await.unwrap();
    service.rotate("orders");
    envelope.keyring().forget_metadata();
    service.always(Method::Reencrypt, Fault::Unsupported);
    let trusting = RewrapOptions::new().trusting_backend();
    let error = envelope.rewrap(&message, trusting).await.unwrap_err();
    let expected = "keyring is unavailable: the service does not re-encrypt: rewrap without `trusting_backend`";
    assert_eq!(error.to_string(), expected);
    assert!(is_final_backend_error(&error));
    // Nothing is unwrapped instead of what was asked for.
    assert_eq!(service.calls(Method::Decrypt), 1, "the proof of the message");
    assert!(envelope.rewrap(&message, RewrapOptions::new()).await.unwrap().is_changed());
}
