//! The texts of a token's errors, and whether a retry can help.

use super::*;
use envelock::pkcs11::{self, KeyWeakness, PinFault, WrongResponse};

/// Every error of a token that a test can make, and whether a retry can help.
fn token_errors() -> Vec<(pkcs11::Error, bool)> {
    let (key, version) = (|| "orders".to_owned(), version(1));
    let (path, what) = (PathBuf::from("/lib.so"), "no such file".to_owned());
    let (wanted, found) = (|| "label \"a\"".to_owned(), Vec::new);
    let source: Arc<dyn std::error::Error + Send + Sync> = io(io::ErrorKind::TimedOut);
    let mut errors = vec![
        (pkcs11::Error::Library { path, what }, false),
        (pkcs11::Error::Forked, false),
        (pkcs11::Error::TokenNotFound { wanted: wanted(), found: found() }, true),
        (pkcs11::Error::TokenNotUnique { wanted: wanted(), found: found() }, false),
        (pkcs11::Error::KeyNotFound { key: key(), version }, false),
        (pkcs11::Error::KeyNotUnique { key: key(), version }, false),
        (pkcs11::Error::WeakKey { key: key(), version, fault: KeyWeakness::Extractable }, false),
        (pkcs11::Error::Algorithm { what: "no GCM".into() }, false),
        (pkcs11::Error::Wrong { fault: WrongResponse::IvIgnored }, true),
        (pkcs11::Error::Deadline { after: Duration::from_secs(1) }, true),
        (pkcs11::Error::Hanging { calls: 2 }, true),
        (pkcs11::Error::RestartProcess { calls: 2 }, false),
        (pkcs11::Error::NoSession, true),
        (pkcs11::Error::Randomness(RandomnessUnavailable::new()), true),
        (pkcs11::Error::NotDestroyed { count: 1 }, true),
    ];
    for (fault, retryable) in [
        (PinFault::Rejected, false),
        (PinFault::Locked, false),
        (PinFault::Expired, false),
        (PinFault::NotInitialized, false),
        (PinFault::FinalTry, false),
        (PinFault::OtherUser, true),
        (PinFault::Ignored, true),
        (PinFault::Source { source }, true),
        (PinFault::FilePermissions { path: "/pin".into(), mode: 0o644 }, false),
    ] {
        errors.push((pkcs11::Error::Login { fault }, retryable));
    }
    errors
}

#[test]
fn token_cause_is_retryable_alike_from_every_call() {
    check_both_ways(token_errors());
}

#[test]
fn error_of_a_token_says_key_and_version() {
    let error =
        Error::from(pkcs11::Error::KeyNotFound { key: "orders".into(), version: version(2) });
    assert_eq!(error.to_string(), "key orders version 2 is not on the token");
}
