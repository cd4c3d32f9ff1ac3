//! What the errors of a token say, and whether a retry can help.

use super::*;
use envelock::pkcs11::*;

/// Every error of a token that a test can make, and whether a retry can help.
fn token_errors() -> Vec<(Pkcs11Error, bool)> {
    let (key, version) = (|| "orders".to_owned(), version(1));
    let (path, what) = (PathBuf::from("/lib.so"), "no such file".to_owned());
    let (wanted, found) = (|| "label \"a\"".to_owned(), Vec::new);
    let source: Arc<dyn std::error::Error + Send + Sync> = io(io::ErrorKind::TimedOut);
    let mut errors = vec![
        (Pkcs11Error::Library { path, what }, false),
        (Pkcs11Error::Forked, false),
        (Pkcs11Error::TokenNotFound { wanted: wanted(), found: found() }, true),
        (Pkcs11Error::TokenNotUnique { wanted: wanted(), found: found() }, false),
        (Pkcs11Error::KeyNotFound { key: key(), version }, false),
        (Pkcs11Error::KeyNotUnique { key: key(), version }, false),
        (Pkcs11Error::WeakKey { key: key(), version, fault: TokenKeyFault::Extractable }, false),
        (Pkcs11Error::Algorithm { what: "no GCM".into() }, false),
        (Pkcs11Error::Wrong { fault: WrongTokenAnswer::IvIgnored }, true),
        (Pkcs11Error::Deadline { after: Duration::from_secs(1) }, true),
        (Pkcs11Error::Hanging { calls: 2 }, true),
        (Pkcs11Error::RestartProcess { calls: 2 }, false),
        (Pkcs11Error::NoSession, true),
        (Pkcs11Error::Randomness(RandomnessUnavailable::new()), true),
        (Pkcs11Error::NotDestroyed { count: 1 }, true),
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
        errors.push((Pkcs11Error::Login { fault }, retryable));
    }
    errors
}

#[test]
fn a_cause_on_a_token_is_retryable_alike_from_a_change_and_from_an_encryption() {
    check_both_ways(token_errors());
}

#[test]
fn an_error_of_a_token_says_key_and_version() {
    let error = Error::from(Pkcs11Error::KeyNotFound { key: "orders".into(), version: version(2) });
    assert_eq!(error.to_string(), "key orders version 2 is not on the token");
}
