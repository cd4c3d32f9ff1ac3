//! What the client does while the service works.

use crate::server::Server;
use envelock::KeyVersion;
use envelock::keyring::Refusal;
use envelock::keyset::VersionState;
use envelock_remote::{Backend, Decrypt, Encrypt, Encrypted, ServiceError};
use envelock_transit::{KeyConfig, Token, Transit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PLAINTEXT: [u8; 32] = [0x5A; 32];
pub const CONTEXT: &[u8] = b"envelock remote wrap v1 of a message";

pub fn client(server: &Server, token: &str) -> Transit {
    Transit::builder(server.address()).token(Token::new(token).unwrap()).build().unwrap()
}

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// A server, a client that may do everything, and the key `orders`.
pub async fn orders() -> (Server, Transit) {
    let server = Server::start();
    let transit = client(&server, &server.root);
    transit.create_key("orders").await.unwrap();
    (server, transit)
}

pub async fn wrap(transit: &Transit) -> Encrypted {
    let item = Encrypt { plaintext: &PLAINTEXT, context: CONTEXT };
    transit.encrypt("orders", &[item]).await.unwrap().remove(0).unwrap()
}

pub async fn unwrap(
    transit: &Transit,
    wrapped: &Encrypted,
    context: &[u8],
) -> Result<Vec<u8>, ServiceError> {
    let item = Decrypt { version: wrapped.version, blob: &wrapped.blob, context };
    let mut answers = transit.decrypt("orders", &[item]).await?;
    answers.remove(0).map(|plaintext| plaintext.expose().to_vec())
}

#[tokio::test]
async fn wraps_open_under_their_context_version_and_bytes_alone() {
    let (_server, transit) = orders().await;
    let wrapped = wrap(&transit).await;
    assert_eq!((wrapped.version, wrapped.blob.len()), (KeyVersion::FIRST, 60));
    assert_eq!(unwrap(&transit, &wrapped, CONTEXT).await.unwrap(), PLAINTEXT);

    let refused = unwrap(&transit, &wrapped, b"another").await;
    assert!(matches!(refused, Err(ServiceError::Authentication)), "{refused:?}");
    for position in [0, 12, 59] {
        let mut changed = wrapped.clone();
        changed.blob[position] ^= 1;
        let refused = unwrap(&transit, &changed, CONTEXT).await;
        assert!(matches!(refused, Err(ServiceError::Authentication)), "{refused:?}");
    }
    for len in [0, 1, 27, 59] {
        let cut = Encrypted { blob: wrapped.blob[..len].to_vec(), ..wrapped.clone() };
        let refused = unwrap(&transit, &cut, CONTEXT).await;
        assert!(matches!(refused, Err(ServiceError::Authentication)), "{refused:?}");
    }
    transit.rotate("orders").await.unwrap();
    let relabelled = Encrypted { version: version(2), ..wrapped.clone() };
    let refused = unwrap(&transit, &relabelled, CONTEXT).await;
    assert!(matches!(refused, Err(ServiceError::Authentication)), "{refused:?}");
    let future = Encrypted { version: version(9), ..wrapped };
    let refused = unwrap(&transit, &future, CONTEXT).await;
    let unknown = matches!(refused, Err(ServiceError::Refused(Refusal::UnknownVersion)));
    assert!(unknown, "{refused:?}");
}

#[tokio::test]
async fn batch_has_an_answer_for_each_item_in_order() {
    let (_server, transit) = orders().await;
    let plaintexts: Vec<[u8; 16]> = (0..200).map(|i| [i; 16]).collect();
    let items: Vec<_> =
        plaintexts.iter().map(|plaintext| Encrypt { plaintext, context: CONTEXT }).collect();
    let wrapped = transit.encrypt("orders", &items).await.unwrap();
    let wrapped: Vec<_> = wrapped.into_iter().map(Result::unwrap).collect();
    let items: Vec<_> = wrapped
        .iter()
        .enumerate()
        .map(|(i, wrapped)| Decrypt {
            version: if i % 5 == 1 { version(7) } else { wrapped.version },
            blob: if i % 5 == 2 { &wrapped.blob[..20] } else { &wrapped.blob },
            context: if i % 5 == 3 { b"another" } else { CONTEXT },
        })
        .collect();
    let answers = transit.decrypt("orders", &items).await.unwrap();
    assert_eq!(answers.len(), 200);
    for (i, answer) in answers.iter().enumerate() {
        match (i % 5, answer) {
            (0 | 4, Ok(plaintext)) => assert_eq!(plaintext.expose(), plaintexts[i]),
            (1, Err(ServiceError::Refused(Refusal::UnknownVersion)))
            | (2 | 3, Err(ServiceError::Authentication)) => {}
            _ => panic!("item {i}: {answer:?}"),
        }
    }
    // Nothing that the service could open is not sent at all.
    let none = transit.decrypt("orders", &items[2..3]).await.unwrap();
    assert!(matches!(none[0], Err(ServiceError::Authentication)));
}

#[tokio::test]
async fn rewrap_on_the_side_of_the_service_keeps_plaintext_and_context() {
    let (_server, transit) = orders().await;
    let old = wrap(&transit).await;
    transit.rotate("orders").await.unwrap();
    let item = |context| Decrypt { version: old.version, blob: &old.blob, context };
    let answers = transit.reencrypt("orders", &[item(CONTEXT), item(b"another")]).await.unwrap();
    let new = answers[0].as_ref().unwrap();
    assert_eq!(new.version, version(2));
    assert_eq!(unwrap(&transit, new, CONTEXT).await.unwrap(), PLAINTEXT);
    assert!(matches!(answers[1], Err(ServiceError::Authentication)));
}

#[tokio::test]
async fn states_follow_the_configuration_of_the_key() {
    let (_server, transit) = orders().await;
    let first = wrap(&transit).await;
    let id = transit.describe("orders").await.unwrap().id;
    for _ in 0..2 {
        transit.rotate("orders").await.unwrap();
    }
    let config = |min| KeyConfig::default().with_min_decryption(min);
    transit.configure("orders", &config(version(2))).await.unwrap();
    let described = transit.describe("orders").await.unwrap();
    use VersionState::{Destroyed, Disabled, Enabled, Primary};
    let states =
        |of: &envelock_remote::Description| of.versions.values().copied().collect::<Vec<_>>();
    assert_eq!(states(&described), [Disabled, Enabled, Primary]);
    assert_eq!((described.id, described.primary), (id, Some(version(3))));
    let refused = unwrap(&transit, &first, CONTEXT).await;
    assert!(matches!(refused, Err(ServiceError::Refused(Refusal::Disabled))), "{refused:?}");

    transit.configure("orders", &config(version(1))).await.unwrap();
    assert_eq!(unwrap(&transit, &first, CONTEXT).await.unwrap(), PLAINTEXT);

    // What is trimmed has to be out of use, for both directions.
    let refused = transit.trim("orders", version(2)).await;
    assert!(matches!(refused, Err(ServiceError::Broken(_))), "{refused:?}");
    let both = config(version(2)).with_min_encryption(version(2));
    transit.configure("orders", &both).await.unwrap();
    transit.trim("orders", version(2)).await.unwrap();
    let described = transit.describe("orders").await.unwrap();
    assert_eq!(states(&described), [Destroyed, Enabled, Primary]);
    assert_eq!(described.id, id);

    transit.soft_delete("orders").await.unwrap();
    let described = transit.describe("orders").await.unwrap();
    assert_eq!(
        (states(&described), described.primary),
        (vec![Destroyed, Disabled, Disabled], None)
    );
    let item = Encrypt { plaintext: &PLAINTEXT, context: CONTEXT };
    let refused = transit.encrypt("orders", &[item]).await.unwrap().remove(0);
    assert!(matches!(refused, Err(ServiceError::Refused(Refusal::Disabled))), "{refused:?}");
    transit.restore("orders").await.unwrap();
    assert_eq!(transit.describe("orders").await.unwrap().primary, Some(version(3)));
}

#[tokio::test]
async fn unknown_key_is_not_created_by_a_token_that_may() {
    let (server, transit) = orders().await;
    let item = Encrypt { plaintext: &PLAINTEXT, context: CONTEXT };
    let refused = transit.encrypt("unknown", &[item]).await.map(|_| ());
    assert!(matches!(refused, Err(ServiceError::UnknownKey)), "{refused:?}");
    let refused = transit.describe("unknown").await;
    assert!(matches!(refused, Err(ServiceError::UnknownKey)), "{refused:?}");
    let blob = [0; 60];
    let item = Decrypt { version: KeyVersion::FIRST, blob: &blob, context: CONTEXT };
    let refused = transit.decrypt("unknown", &[item]).await.map(|_| ());
    assert!(matches!(refused, Err(ServiceError::UnknownKey)), "{refused:?}");
    let refused = transit.reencrypt("unknown", &[item]).await.map(|_| ());
    assert!(matches!(refused, Err(ServiceError::UnknownKey)), "{refused:?}");
    for changed in [
        transit.rotate("unknown").await,
        transit.configure("unknown", &KeyConfig::default()).await,
        transit.trim("unknown", KeyVersion::FIRST).await,
    ] {
        assert!(matches!(changed, Err(ServiceError::UnknownKey)), "{changed:?}");
    }
    assert_eq!(server.get("transit/keys/unknown").status, 404);
    // The same token creates it without that guard.
    let unguarded = r#"{"plaintext":"","context":"AA=="}"#;
    assert_eq!(server.post("transit/encrypt/unguarded", unguarded).status, 200);
    assert_eq!(server.get("transit/keys/unguarded").status, 200);
}

#[tokio::test]
async fn id_stays_when_the_engine_moves_and_differs_between_engines() {
    let (server, transit) = orders().await;
    let id = transit.master_key_id("orders").await.unwrap();
    assert_ne!(transit.master_key_id("invoices").await.unwrap(), id);
    let moved = server.post("sys/remount", r#"{"from":"transit","to":"kept/keys"}"#);
    assert_eq!(moved.status, 200);
    let at = |mount: &str| {
        let token = Token::new(server.root.as_str()).unwrap();
        Transit::builder(server.address()).token(token).mount(mount).build().unwrap()
    };
    let status = format!("sys/remount/status/{}", moved.field("migration_id"));
    while !server.get(&status).text.contains("success") {
        tokio::task::yield_now().await;
    }
    assert_eq!(at("kept/keys").describe("orders").await.unwrap().id, id);
    assert_eq!(server.post("sys/mounts/transit", r#"{"type":"transit"}"#).status, 204);
    assert_ne!(at("transit").master_key_id("orders").await.unwrap(), id);
}

#[tokio::test]
async fn namespace_is_sent() {
    let server = Server::start();
    assert_eq!(server.post("sys/namespaces/team", "").status, 200);
    let token = || Token::new(server.root.as_str()).unwrap();
    let builder = || Transit::builder(server.address()).token(token());
    assert_eq!(server.post("team/sys/mounts/transit", r#"{"type":"transit"}"#).status, 204);
    let team = builder().namespace("team").build().unwrap();
    team.create_key("orders").await.unwrap();
    assert!(team.describe("orders").await.is_ok());
    let outside = builder().build().unwrap().describe("orders").await;
    assert!(matches!(outside, Err(ServiceError::UnknownKey)), "{outside:?}");
}

#[tokio::test]
async fn refused_token_is_replaced_once_for_all_callers() {
    let (server, _) = orders().await;
    let (asked, root) = (Arc::new(AtomicUsize::new(0)), server.root.clone());
    let counter = asked.clone();
    let renewed = move || {
        let text = if counter.fetch_add(1, Ordering::SeqCst) == 0 { "s.expired" } else { &root };
        std::future::ready(Token::new(text).map_err(Into::into))
    };
    let transit = Transit::builder(server.address()).token_source(renewed).build().unwrap();
    // A token that was just obtained is not replaced: a denied path must not cost a login each.
    for _ in 0..3 {
        let denied = transit.describe("orders").await;
        assert!(matches!(denied, Err(ServiceError::Denied(_))), "{denied:?}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    let (a, b) = tokio::join!(transit.describe("orders"), transit.describe("orders"));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
