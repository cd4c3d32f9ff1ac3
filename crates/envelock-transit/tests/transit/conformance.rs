//! The conformance suite of keyrings, over the synchronous face, with a service that is changed, denied and sealed
//! behind its back.

use crate::client::client;
use crate::keyring::keyring;
use crate::mutants::{Mistake, Mutant};
use crate::server::Server;
use envelock::KeyVersion;
use envelock::conformance::{self, Controls};
use envelock_remote::{RemoteKeyring, SyncKeyring};
use std::time::Duration;

const POLICY: &str = r#"path "transit/keys/orders" { capabilities = ["read"] }
    path "transit/encrypt/orders" { capabilities = ["update"] }
    path "transit/decrypt/orders" { capabilities = ["update"] }"#;

type Keyring = SyncKeyring<RemoteKeyring<Mutant>>;

struct Service {
    keyring: Keyring,
    server: Server,
    mistake: Mistake,
}

fn over(server: &Server, token: &str, mistake: Mistake) -> Keyring {
    named("orders", Mutant(client(server, token), mistake))
}

fn named(name: &'static str, transit: Mutant) -> Keyring {
    SyncKeyring::start(async move || Ok::<_, std::convert::Infallible>(keyring(transit, name)))
        .unwrap()
}

fn server() -> Server {
    let server = Server::start();
    let made = server.post("transit/keys/orders", r#"{"type":"aes256-gcm96","derived":true}"#);
    assert_eq!(made.status, 200, "{}", made.text);
    server
}

impl Service {
    fn start(mistake: Mistake) -> Self {
        let server = server();
        let token = server.token(POLICY);
        Service { keyring: over(&server, &token, mistake), server, mistake }
    }
}

impl Controls for Service {
    type Keyring = Keyring;

    fn keyring(&self) -> &Self::Keyring {
        &self.keyring
    }

    fn rotate(&self) -> bool {
        self.server.post("transit/keys/orders/rotate", "{}").status == 200
    }

    fn disable(&self, version: KeyVersion) -> bool {
        let body = format!(r#"{{"min_decryption_version":{}}}"#, version.number() + 1);
        self.server.post("transit/keys/orders/config", &body).status == 200
    }

    fn deny(&self) -> bool {
        self.server.set_policy(r#"path "nothing" { capabilities = ["read"] }"#);
        true
    }

    fn throttle(&self, retry_after: Option<Duration>) -> bool {
        // The service says how much of the wait is left, which is no exact time.
        if retry_after.is_some() {
            return false;
        }
        let body = r#"{"rate":1,"path":"transit","interval":"600s"}"#;
        let made = self.server.post("sys/quotas/rate-limit/test", body);
        // The one request that the quota has.
        made.status == 204 && self.server.get("transit/keys/orders").status == 200
    }

    fn break_backend(&self) -> bool {
        self.server.seal();
        true
    }

    fn restore(&self) {
        self.server.unseal();
        self.server.set_policy(POLICY);
        let _ = self.server.request("DELETE", "sys/quotas/rate-limit/test", "");
    }

    fn twins(&self, test: &mut dyn FnMut(&dyn envelock::Keyring)) {
        let transit = Mutant(client(&self.server, &self.server.root), self.mistake);
        test(&named("renamed", transit));
    }

    fn forget(&self) {
        self.keyring.keyring().forget_metadata();
    }
}

#[test]
fn keyring_over_transit_conforms() {
    let server = server();
    conformance::keyring(|| over(&server, &server.root, Mistake::None));
}

#[test]
fn keyring_conforms_while_the_service_is_changed_denied_throttled_and_sealed() {
    conformance::remote(|| Service::start(Mistake::None));
}

#[test]
fn mistakes_with_the_service_are_found() {
    for (mistake, rule) in [
        (Mistake::WithoutContext, "Authentication"),
        (Mistake::LabelsFirst, "RoundTrip"),
        (Mistake::OutageIsAuthentication, "Unavailable"),
        (Mistake::DeniedIsUnavailable, "Denied"),
        (Mistake::CutsBlob, "RoundTrip"),
    ] {
        let found = std::panic::catch_unwind(|| {
            let server = server();
            conformance::keyring(|| over(&server, &server.root, mistake));
            conformance::remote(|| Service::start(mistake));
        });
        let text = found.expect_err("the suite finds it");
        let text = text.downcast_ref::<String>().expect("the suite says what it found");
        assert!(text.contains(&format!("keyring breaks {rule} ")), "{mistake:?}: {text}");
    }
}
