//! A key file under a key of the service: one call for each start of a process.

use crate::client::client;
use crate::keyring::keyring;
use crate::server::Server;
use envelock::file::{FileKeyring, Protection};
use envelock::{Aad, Envelope, Keyring, Lifecycle};
use envelock_remote::SyncKeyring;
use std::convert::Infallible;
use std::sync::Arc;

fn outer(server: &Server) -> Arc<dyn Keyring> {
    let transit = client(server, &server.root);
    Arc::new(
        SyncKeyring::start(async move || Ok::<_, Infallible>(keyring(transit, "orders"))).unwrap(),
    )
}

#[test]
fn key_file_under_the_service_needs_it_at_the_start_alone() {
    let mut server = Server::start();
    let made = server.post("transit/keys/orders", r#"{"type":"aes256-gcm96","derived":true}"#);
    assert!(made.status < 300, "{}", made.text);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders.keys");
    let protection = Protection::keyring(outer(&server));
    let keyring = FileKeyring::create(&path, "inner", &protection).unwrap();
    let message = Envelope::new(&keyring).encrypt(b"four boxes", Aad::none()).unwrap();

    // The service's key is rotated, and the file's protection alone is wrapped again.
    assert!(server.post("transit/keys/orders/rotate", "").status < 300);
    let protection = Protection::keyring(outer(&server));
    let id = keyring.protections()[0].id;
    keyring.rewrap_protection(id, &protection).unwrap();
    let config = server.post("transit/keys/orders/config", r#"{"min_decryption_version":2}"#);
    assert!(config.status < 300, "{}", config.text);
    drop(keyring);
    let keyring = FileKeyring::open_any(&path, &Protection::keyring(outer(&server))).unwrap();
    let envelope = Envelope::new(&keyring);
    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"four boxes");

    // Without the service everything goes on but a start.
    let late = outer(&server);
    server.kill();
    keyring.rotate().unwrap();
    let newer = envelope.encrypt(b"five boxes", Aad::none()).unwrap();
    assert_eq!(envelope.decrypt(&newer, Aad::none()).unwrap(), b"five boxes");
    let error = FileKeyring::open_any(&path, &Protection::keyring(late)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
}
