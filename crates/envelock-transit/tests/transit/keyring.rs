//! A keyring over the service: messages.

use crate::client::{client, version};
use crate::server::Server;
use envelock::format::WrapAlgorithm;
use envelock::keyring::Refusal;
use envelock::{Aad, AsyncEnvelope, Error, KeyVersion, RewrapOptions, inspect};
use envelock_remote::{Backend, CallOptions, Decrypt, Encrypt, RemoteKeyring};
use envelock_transit::{KeyConfig, Token, Transit};
use std::path::PathBuf;
use std::time::Duration;

/// Fails fast, so that an outage costs a test no time.
pub fn keyring<B: Backend>(transit: B, name: &str) -> RemoteKeyring<B> {
    let calls = CallOptions::default().max_attempts(1).circuit(1000, Duration::from_millis(1));
    RemoteKeyring::builder(transit, name).calls(calls).build().unwrap()
}

/// The texts of an error and its causes.
fn texts(error: &Error) -> String {
    let mut texts = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts = format!("{texts}: {error}");
        cause = error.source();
    }
    texts
}

fn aad() -> Aad<'static> {
    Aad::new(b"order 7")
}

async fn orders() -> (Server, Transit, AsyncEnvelope<RemoteKeyring<Transit>>) {
    let server = Server::start();
    let operator = client(&server, &server.root);
    operator.create_key("orders").await.unwrap();
    let envelope = AsyncEnvelope::new(keyring(client(&server, &server.root), "orders"));
    (server, operator, envelope)
}

#[tokio::test]
async fn message_goes_through_rotation_rewrap_disable_and_trim() {
    let (_server, operator, envelope) = orders().await;
    let old = envelope.encrypt(b"text", aad()).await.unwrap();
    {
        let header = inspect(&old).unwrap();
        let slot = header.slots().next().unwrap();
        assert_eq!(slot.label.algorithm, WrapAlgorithm::new(4).unwrap());
        assert_eq!((slot.label.version, slot.wrapped_key.len()), (KeyVersion::FIRST, 60));
        assert_eq!(slot.label.name.as_str(), "orders");
        let id = operator.master_key_id("orders").await.unwrap();
        assert_eq!(slot.label.master_key_id, id);
    }
    assert_eq!(envelope.decrypt(&old, aad()).await.unwrap(), b"text");
    assert!(envelope.decrypt(&old, Aad::new(b"order 8")).await.is_err());

    // Behind our back: the next message has the version of the answer, and both open.
    operator.rotate("orders").await.unwrap();
    let new = envelope.encrypt(b"text", aad()).await.unwrap();
    assert_eq!(inspect(&new).unwrap().slots().next().unwrap().label.version, version(2));
    for message in [&old, &new] {
        assert_eq!(envelope.decrypt(message, aad()).await.unwrap(), b"text");
    }
    assert!(envelope.needs_rewrap(&old).await.unwrap());
    let mut moved = old.clone();
    let rewrap = envelope.rewrap(&old, RewrapOptions::default()).await.unwrap();
    assert!(rewrap.report().is_changed());
    rewrap.write_over(&mut moved).unwrap();
    assert_eq!(inspect(&moved).unwrap().slots().next().unwrap().label.version, version(2));

    let second = KeyConfig::default().with_min_decryption(version(2));
    operator.configure("orders", &second.with_min_encryption(version(2))).await.unwrap();
    for (trimmed, expected) in [(false, Refusal::Disabled), (true, Refusal::Destroyed)] {
        if trimmed {
            operator.trim("orders", version(2)).await.unwrap();
        }
        envelope.keyring().forget_metadata();
        let refused = envelope.decrypt(&old, aad()).await.unwrap_err();
        assert!(texts(&refused).contains(&expected.to_string()), "{}", texts(&refused));
        assert!(!refused.is_retryable());
        assert_eq!(envelope.decrypt(&moved, aad()).await.unwrap(), b"text");
    }
}

#[tokio::test]
async fn outage_quota_denial_and_bad_token_have_their_errors() {
    let (server, operator, envelope) = orders().await;
    let message = envelope.encrypt(b"text", aad()).await.unwrap();
    let body = r#"{"rate":1,"path":"transit","interval":"60s"}"#;
    assert_eq!(server.post("sys/quotas/rate-limit/test", body).status, 204);
    let _ = operator.describe_key("orders").await;
    let throttled = envelope.decrypt(&message, aad()).await.unwrap_err();
    assert!(throttled.is_retryable() && texts(&throttled).contains("429"), "{}", texts(&throttled));
    assert_eq!(server.request("DELETE", "sys/quotas/rate-limit/test", "").status, 204);
    assert_eq!(envelope.decrypt(&message, aad()).await.unwrap(), b"text");

    let bad = AsyncEnvelope::new(keyring(client(&server, "s.bad"), "orders"));
    let denied = bad.decrypt(&message, aad()).await.unwrap_err();
    assert!(
        !denied.is_retryable() && texts(&denied).contains("permission denied"),
        "{}",
        texts(&denied)
    );
    let may_not_encrypt = server.token(
        r#"path "transit/keys/orders" { capabilities = ["read"] }
           path "transit/decrypt/orders" { capabilities = ["update"] }"#,
    );
    let reader = AsyncEnvelope::new(keyring(client(&server, &may_not_encrypt), "orders"));
    assert_eq!(reader.decrypt(&message, aad()).await.unwrap(), b"text");
    let denied = reader.encrypt(b"text", aad()).await.unwrap_err();
    assert!(!denied.is_retryable() && texts(&denied).contains("403"), "{}", texts(&denied));

    assert_eq!(server.request("PUT", "sys/seal", "").status, 204);
    let away = envelope.decrypt(&message, aad()).await.unwrap_err();
    assert!(away.is_retryable() && texts(&away).contains("sealed"), "{}", texts(&away));
}

#[tokio::test]
async fn key_that_is_unknown_or_unsuitable_wraps_nothing_and_is_not_made() {
    let server = Server::start();
    let envelope = AsyncEnvelope::new(keyring(client(&server, &server.root), "orders"));
    assert!(envelope.encrypt(b"text", aad()).await.is_err());
    assert_eq!(server.get("transit/keys/orders").status, 404);
    assert_eq!(server.post("transit/keys/orders", "{}").status, 200);
    envelope.keyring().forget_metadata();
    let refused = envelope.encrypt(b"text", aad()).await.unwrap_err();
    assert!(texts(&refused).contains("derived=true"), "{}", texts(&refused));
}

/// As many messages at once as callers like, over a client whose calls are bounded and batched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_messages_at_once() {
    let (_server, _, envelope) = orders().await;
    let envelope = std::sync::Arc::new(envelope);
    let mut tasks = Vec::new();
    for number in 0..1000_u32 {
        let envelope = envelope.clone();
        tasks.push(tokio::spawn(async move {
            let text = number.to_be_bytes();
            let message = envelope.encrypt(&text, aad()).await?;
            Ok::<_, Error>(envelope.decrypt(&message, aad()).await? == text)
        }));
    }
    for task in tasks {
        assert!(task.await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn full_batches_are_read() {
    let (_server, _, envelope) = orders().await;
    let transit = envelope.keyring().backend();
    let item = Encrypt { plaintext: &[7; 32], context: &[9; 310] };
    let items = vec![item; transit.max_batch().get()];
    let wrapped: Vec<_> = transit.encrypt("orders", &items).await.unwrap();
    let wrapped: Vec<_> = wrapped.into_iter().map(Result::unwrap).collect();
    let items = wrapped.iter().map(|it| Decrypt {
        version: it.version,
        blob: &it.blob,
        context: &[9; 310],
    });
    let items: Vec<_> = items.collect();
    let opened = transit.decrypt("orders", &items).await.unwrap();
    assert!(opened.iter().all(|opened| opened.as_ref().unwrap().expose() == [7; 32]));
    let again = transit.reencrypt("orders", &items).await.unwrap();
    assert!(again.iter().all(Result::is_ok));
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The backup of the key that a message is under is beside it. A restored key has another engine, so the client
/// is given the id.
#[tokio::test]
async fn golden_message_opens_under_the_restored_key() {
    let server = Server::start();
    let backup = std::fs::read_to_string(golden("orders.backup")).unwrap();
    let body = format!(r#"{{"backup":"{}"}}"#, backup.trim());
    assert_eq!(server.post("transit/restore/orders", &body).status, 204);
    let message = std::fs::read(golden("message.envelock")).unwrap();
    let id = inspect(&message).unwrap().slots().next().unwrap().label.master_key_id;
    let other = AsyncEnvelope::new(keyring(client(&server, &server.root), "orders"));
    assert!(other.decrypt(&message, aad()).await.is_err());
    let token = Token::new(server.root.as_str()).unwrap();
    let transit = Transit::builder(server.address()).token(token).master_key_id(id).build();
    let envelope = AsyncEnvelope::new(keyring(transit.unwrap(), "orders"));
    assert_eq!(envelope.decrypt(&message, aad()).await.unwrap(), b"golden text");
}

/// `cargo test -p envelock-transit -- --ignored`, once for each format.
#[tokio::test]
#[ignore = "writes the golden files"]
async fn golden_files_are_made() {
    let server = Server::start();
    let body = r#"{"derived":true,"exportable":true,"allow_plaintext_backup":true}"#;
    assert_eq!(server.post("transit/keys/orders", body).status, 200);
    let envelope = AsyncEnvelope::new(keyring(client(&server, &server.root), "orders"));
    let message = envelope.encrypt(b"golden text", aad()).await.unwrap();
    std::fs::write(golden("message.envelock"), message).unwrap();
    let backup = server.get("transit/backup/orders").field("backup");
    std::fs::write(golden("orders.backup"), backup + "\n").unwrap();
}
