//! The PKCS#11 keyring on two unusual tokens: external keys in a TPM, and a server that is killed and
//! started again. `ci/pkcs11_more.sh` sets them up; not part of CI.

use crate::detached::WriteDetached;
use crate::token_env::{name, options, variable};
use envelock::conformance;
use envelock::{
    Aad, Envelope, Error, KeyVersion, RewrapOptions,
    pkcs11::{self, ExternalKeyring, ExternalKeys, KeyRef},
};
use std::process::Command;

const ROW: Aad<'static> = Aad::new(b"row");

/// The keys that `tpm2_ptool` made, as versions: pairs of labels.
fn external(primary: u32) -> ExternalKeys {
    let mut keys = ExternalKeys::new("orders");
    for (number, pair) in (1..).zip(variable("ENVELOCK_P11_EXTERNAL").split(' ')) {
        let (encrypt, mac) = pair.split_once(':').unwrap();
        let version = KeyVersion::new(number).unwrap();
        keys = keys.cbc_hmac(version, KeyRef::label(encrypt), KeyRef::label(mac));
    }
    keys.primary(KeyVersion::new(primary).unwrap())
}

fn keyring(token: &pkcs11::Token, primary: u32) -> ExternalKeyring {
    ExternalKeyring::new(token, &external(primary)).unwrap()
}

#[test]
fn keys_of_a_tpm_wrap_rotate_and_pass_the_suite() {
    if name() != "tpm2" {
        return;
    }
    let token = options().token().unwrap();
    let first = keyring(&token, 1);
    let mut message = Envelope::new(&first).encrypt(b"hello", ROW).unwrap();
    let second = keyring(&token, 2);
    let envelope = Envelope::new(&second);
    assert!(envelope.needs_rewrap(&message).unwrap());
    let rewrapped = envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap();
    assert!(rewrapped.is_changed() && rewrapped.is_complete());
    assert!(!envelope.needs_rewrap(&message).unwrap());
    assert_eq!(Envelope::new(&first).decrypt(&message, ROW).unwrap(), b"hello");
    let forged = message.len() - 1;
    message[forged] ^= 1;
    assert!(matches!(envelope.decrypt(&message, ROW), Err(Error::Authentication { .. })));
    // A TPM takes 10 ms a call, so the part of the suite with thousands of calls is left out.
    if std::env::var_os("ENVELOCK_TPM_SUITE").is_some() {
        conformance::keyring(|| keyring(&token, 1));
    }
}

#[test]
fn token_that_generates_nothing_says_so() {
    if name() != "tpm2" {
        return;
    }
    let report = options().token().unwrap().probe().unwrap();
    assert_eq!(report.chosen(), None);
    assert!(report.to_string().contains("use pkcs11::ExternalKeyring"), "{report}");
}

/// Only the state of the connection is tested: that server does not pass parameters on.
#[test]
fn server_that_is_killed_and_comes_back_is_used_again() {
    if name() != "p11_kit" {
        return;
    }
    let shell = |name: &str| {
        assert!(Command::new("sh").args(["-c", &variable(name)]).status().unwrap().success());
    };
    let token = options().recovery_timeout(std::time::Duration::from_millis(300)).token().unwrap();
    let listed = token.probe().unwrap().mechanisms;
    assert!(listed > 0);
    for _ in 0..3 {
        shell("ENVELOCK_P11_KILL");
        let error = token.probe().unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(matches!(
            error.backend(),
            Some(pkcs11::Error::Call { .. } | pkcs11::Error::TokenNotFound { .. })
        ));
        shell("ENVELOCK_P11_RESTART");
        assert_eq!(token.probe().unwrap().mechanisms, listed);
    }
}
