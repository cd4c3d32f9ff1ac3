//! What the client reports while the service refuses or is away.

use crate::client::{CONTEXT, PLAINTEXT, client, orders, unwrap, wrap};
use crate::server::Server;
use envelock_remote::{Backend, Encrypt, ServiceError};
use envelock_transit::{SetupError, Token, Transit, UnsuitableKey};
use std::time::Duration;

#[tokio::test]
async fn unsuitable_key_is_refused_with_the_command_that_makes_another() {
    let (server, transit) = orders().await;
    for (name, body, what) in [
        ("plain", r#"{}"#, "not derived"),
        ("same", r#"{"derived":true,"convergent_encryption":true}"#, "convergent"),
        ("small", r#"{"type":"aes128-gcm96","derived":true}"#, "not of type"),
        ("signs", r#"{"type":"ed25519","derived":true}"#, "not of type"),
        ("public", r#"{"type":"rsa-2048"}"#, "not of type"),
    ] {
        assert_eq!(server.post(&format!("transit/keys/{name}"), body).status, 200);
        let Err(ServiceError::Broken(cause)) = transit.describe(name).await else {
            panic!("{name} is not refused")
        };
        let text = cause.to_string();
        assert!(cause.downcast_ref::<UnsuitableKey>().is_some() && text.contains(what), "{text}");
        let command = "bao write -f transit/keys/NAME type=aes256-gcm96 derived=true";
        assert!(text.ends_with(command), "{text}");
    }
    // It may leave the service, which is for its operators to decide.
    let body = r#"{"derived":true,"exportable":true}"#;
    assert_eq!(server.post("transit/keys/leaves", body).status, 200);
    assert!(transit.describe_key("leaves").await.unwrap().exportable);
    assert!(transit.describe("leaves").await.is_ok());
}

#[tokio::test]
async fn names_that_are_paths_are_not_sent() {
    let (_server, transit) = orders().await;
    for name in ["", "orders/rotate", "../sys/seal", ".", "..", "a?b", "a#b", "a%2fb", "-a", "ä"] {
        let refused = transit.describe(name).await;
        assert!(matches!(refused, Err(ServiceError::Broken(_))), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn each_path_is_denied_by_itself() {
    let (server, _) = orders().await;
    let (keys, encrypt, decrypt) = (
        r#"path "transit/keys/orders" { capabilities = ["read"] }"#,
        r#"path "transit/encrypt/orders" { capabilities = ["update"] }"#,
        r#"path "transit/decrypt/orders" { capabilities = ["update"] }"#,
    );
    for (policy, may) in [
        (format!("{keys} {encrypt} {decrypt}"), [true, true, true]),
        (format!("{encrypt} {decrypt}"), [false, true, true]),
        (format!("{keys} {decrypt}"), [true, false, true]),
        (format!("{keys} {encrypt}"), [true, true, false]),
    ] {
        let wrapped = wrap(&client(&server, &server.root)).await;
        let transit = client(&server, &server.token(&policy));
        let item = Encrypt { plaintext: &PLAINTEXT, context: CONTEXT };
        let results = [
            transit.describe("orders").await.map(|_| ()),
            transit.encrypt("orders", &[item]).await.map(|_| ()),
            unwrap(&transit, &wrapped, CONTEXT).await.map(|_| ()),
        ];
        for (result, may) in results.iter().zip(may) {
            match result {
                Ok(()) if may => {}
                Err(ServiceError::Denied(_)) if !may => {}
                _ => panic!("{policy}: {result:?}"),
            }
        }
        let rewrapped = transit.rotate("orders").await;
        assert!(matches!(rewrapped, Err(ServiceError::Denied(_))), "{rewrapped:?}");
    }
}

#[tokio::test]
async fn bad_token_is_denied_and_in_no_text() {
    let (server, _) = orders().await;
    let transit = client(&server, "s.secret-of-mine");
    let denied = transit.describe("orders").await.unwrap_err();
    assert!(matches!(denied, ServiceError::Denied(_)), "{denied:?}");
    let token = Token::new("s.secret-of-mine").unwrap();
    let shown = format!("{denied} {denied:?} {transit:?} {token:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("permission denied"), "{shown}");
}

#[tokio::test]
async fn engine_and_namespace_that_are_not_there_are_broken() {
    let (server, _) = orders().await;
    let builder =
        || Transit::builder(server.address()).token(Token::new(server.root.as_str()).unwrap());
    for transit in [builder().mount("nowhere"), builder().namespace("nowhere")] {
        let refused = transit.build().unwrap().describe("orders").await;
        assert!(matches!(refused, Err(ServiceError::Broken(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn quota_is_throttled_with_and_without_a_wait() {
    let (server, transit) = orders().await;
    for headers in [false, true] {
        let body = format!(r#"{{"enable_rate_limit_response_headers":{headers}}}"#);
        assert_eq!(server.post("sys/quotas/config", &body).status, 204);
        let body = r#"{"rate":1,"path":"transit","interval":"60s","block_interval":"60s"}"#;
        assert_eq!(server.post("sys/quotas/rate-limit/test", body).status, 204);
        let mut last = Ok(());
        for _ in 0..3 {
            last = transit.describe("orders").await.map(|_| ());
        }
        let Err(ServiceError::Throttled { retry_after, .. }) = last else { panic!("{last:?}") };
        let minute = Duration::from_secs(50)..=Duration::from_secs(60);
        assert_eq!(retry_after.is_some_and(|wait| minute.contains(&wait)), headers);
        assert_eq!(retry_after.is_some(), headers);
        assert_eq!(server.request("DELETE", "sys/quotas/rate-limit/test", "").status, 204);
    }
    assert!(transit.describe("orders").await.is_ok());
}

#[tokio::test]
async fn sealed_killed_and_unsealed_again() {
    let mut server = Server::start_on_disk();
    let transit = client(&server, &server.root);
    transit.create_key("orders").await.unwrap();
    let wrapped = wrap(&transit).await;
    let unavailable = |result: Result<Vec<u8>, ServiceError>| {
        assert!(matches!(result, Err(ServiceError::Unavailable(_))), "{result:?}");
    };
    server.seal();
    unavailable(unwrap(&transit, &wrapped, CONTEXT).await);
    server.unseal();
    assert_eq!(unwrap(&transit, &wrapped, CONTEXT).await.unwrap(), PLAINTEXT);
    server.kill();
    unavailable(unwrap(&transit, &wrapped, CONTEXT).await);
    server.restart();
    unavailable(unwrap(&transit, &wrapped, CONTEXT).await);
    server.unseal();
    assert_eq!(unwrap(&transit, &wrapped, CONTEXT).await.unwrap(), PLAINTEXT);
}

#[test]
fn wrong_set_up_is_refused() {
    let builder = |address: &str| Transit::builder(address).token(Token::new("t").unwrap());
    for address in
        ["", "host:8200", "ftp://host", "http://localhost/path", "http://u:p@localhost", "http://"]
    {
        let refused = builder(address).build();
        assert!(matches!(refused, Err(SetupError::Address { .. })), "{address}: {refused:?}");
    }
    for mount in ["", "/transit", "a//b", "..", "a/../b", "a b", "a?b"] {
        let refused = builder("http://localhost").mount(mount).build();
        assert!(matches!(refused, Err(SetupError::Mount { .. })), "{mount}: {refused:?}");
    }
    let refused = builder("http://localhost").namespace("a\nb").build();
    assert!(matches!(refused, Err(SetupError::Namespace { .. })), "{refused:?}");
    assert!(matches!(Transit::builder("http://localhost").build(), Err(SetupError::NoToken)));
    for text in ["", " ", "a b", "a\nb", "ä"] {
        assert!(Token::new(text).is_err(), "{text:?}");
    }
    assert!(Token::new("s.token\n").is_ok());
}
