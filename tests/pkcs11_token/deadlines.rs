//! A deadline changes nothing for a token that responds. `pkcs11_hostile` tests tokens that hang.

use crate::keys::put;
use crate::token_env::{CatalogueDirectory, algorithms, best, name, options, session};
use envelock::{Aad, Envelope, Error, Lifecycle, Pkcs11Keyring, pkcs11::ExternalKeyring};
use std::time::Duration;

/// Longer than any call that returns, on any machine.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn everything_works_under_a_deadline() {
    for algorithm in algorithms() {
        let options = || options().algorithm(algorithm).deadline(LONG);
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &options().token().unwrap());
        let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
        keyring.rotate().unwrap();
        // NSS takes 10 ms for a MAC.
        let calls = if name() == "nss" { 1 } else { 5 };
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    let envelope = Envelope::new(&keyring);
                    for _ in 0..calls {
                        let new = envelope.encrypt(b"new", Aad::none()).unwrap();
                        assert_eq!(envelope.decrypt(&new, Aad::none()).unwrap(), b"new");
                        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
                    }
                });
            }
        });
        let mut forged = message.clone();
        let last = crate::independent::wrapped(&message).end - 1;
        forged[last] ^= 1;
        let error = Envelope::new(&keyring).decrypt(&forged, Aad::none()).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
        let token = options().token().unwrap();
        let reopened = Pkcs11Keyring::open_any(directory.path("catalogue"), &token).unwrap();
        assert_eq!(Envelope::new(&reopened).decrypt(&message, Aad::none()).unwrap(), b"row");
    }
}

/// Threads of a token end with it: many short-lived tokens leave none behind.
#[test]
fn threads_of_a_token_end_with_it() {
    let (_, keys) = put(&session(), best());
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..20 {
        let token = options().deadline(LONG).token().unwrap();
        let keyring = ExternalKeyring::new(&token, &keys).unwrap();
        Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    }
    let settled = (0..6_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        threads() <= before + 1
    });
    assert!(settled, "{before} threads became {}", threads());
}
