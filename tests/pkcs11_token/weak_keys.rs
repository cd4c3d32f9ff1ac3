//! Weak external keys are refused, unless the application allows them (THREATS row 62); so are names
//! that more than one key has.

use crate::keys::{MAC_VALUE, VALUE, aes, fresh, keys, secret, with};
use crate::raw_token::{Attribute, RawSession, bytes, flag, number};
use crate::token_env::{algorithms, name, options, pkcs11_error, session};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, Error, KeyVersion,
    format::WrapAlgorithm,
    pkcs11::{self, ExternalKeyring, ExternalKeys, KeyRef, KeyWeakness},
};

/// Puts the two keys on the token, and wraps under them with and without the allowance.
struct Try {
    strict: Result<Vec<u8>, Error>,
    allowed: Result<Vec<u8>, Error>,
}

fn attempt(
    session: &RawSession,
    algorithm: WrapAlgorithm,
    key: impl Fn(Vec<Attribute>) -> Vec<Attribute>,
    mac: impl Fn(Vec<Attribute>) -> Vec<Attribute>,
) -> Option<Try> {
    let (label, mac_label) = (fresh("weak"), fresh("weak-mac"));
    // A token may refuse to make such a key: then there is nothing to test.
    session.create(&key(aes(&label, &VALUE))).ok()?;
    session.create(&mac(secret(&mac_label, &MAC_VALUE))).ok()?;
    let keys = keys(algorithm, &label, &mac_label);
    let wrap = |options: envelock::pkcs11::Options| {
        let keyring = ExternalKeyring::new(&options.token().unwrap(), &keys).unwrap();
        let envelope = Envelope::new(keyring);
        let message = envelope.encrypt(b"row", Aad::none())?;
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
        Ok(message)
    };
    Some(Try { strict: wrap(options()), allowed: wrap(options().allow_weak_keys()) })
}

fn assert_fault(result: &Result<Vec<u8>, Error>, expected: KeyWeakness, what: &str) {
    let error = result.as_ref().expect_err(what);
    let pkcs11::Error::WeakKey { key, version, fault } = pkcs11_error(error) else {
        panic!("{what}: {error:?}")
    };
    assert_eq!((&**key, version.number(), *fault), ("orders", 3, expected), "{what}");
    assert!(!error.is_retryable());
}

/// NSS makes every secret key of a token sensitive, whatever the template has.
fn is_ignored(attribute: &Attribute) -> bool {
    name() == "nss" && attribute.0 == ck::CKA_SENSITIVE
}

fn same(template: Vec<Attribute>) -> Vec<Attribute> {
    template
}

#[test]
fn extractable_key_is_refused_unless_allowed() {
    let session = session();
    let cases = [
        ("extractable", flag(ck::CKA_EXTRACTABLE, true), KeyWeakness::Extractable),
        ("readable", flag(ck::CKA_SENSITIVE, false), KeyWeakness::NotSensitive),
        ("wraps", flag(ck::CKA_WRAP, true), KeyWeakness::WrapsAndDecrypts),
        ("unwraps", flag(ck::CKA_UNWRAP, true), KeyWeakness::WrapsAndDecrypts),
    ];
    for algorithm in algorithms() {
        for (what, attribute, fault) in &cases {
            let key = |template| with(template, attribute.clone());
            let tried = attempt(&session, algorithm, key, same).expect(what);
            if is_ignored(attribute) {
                tried.strict.unwrap();
                continue;
            }
            assert_fault(&tried.strict, *fault, what);
            tried.allowed.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
    }
}

#[test]
fn key_of_the_mac_is_checked_too() {
    let session = session();
    for (attribute, fault) in [
        (flag(ck::CKA_EXTRACTABLE, true), KeyWeakness::Extractable),
        (flag(ck::CKA_SENSITIVE, false), KeyWeakness::NotSensitive),
    ] {
        let mac = |template| with(template, attribute.clone());
        let algorithm = WrapAlgorithm::TOKEN_AES_256_CBC_HMAC;
        let tried = attempt(&session, algorithm, same, mac).unwrap();
        if is_ignored(&attribute) {
            tried.strict.unwrap();
            continue;
        }
        assert_fault(&tried.strict, fault, "mac");
        tried.allowed.unwrap();
    }
}

/// Only where the token returns the length of a key: opencryptoki does not for imported keys.
#[test]
fn key_of_128_bits_is_refused_where_visible() {
    let session = session();
    let has_length = name() != "opencryptoki";
    for algorithm in algorithms() {
        let key = |template| with(template, bytes(ck::CKA_VALUE, &VALUE[..16]));
        let tried = attempt(&session, algorithm, key, same).unwrap();
        if has_length {
            assert_fault(&tried.strict, KeyWeakness::Type, "AES-128");
            // No option allows that: the slot says AES-256.
            assert_fault(&tried.allowed, KeyWeakness::Type, "AES-128");
        } else {
            tried.strict.unwrap();
            tried.allowed.unwrap();
        }
    }
    let mac = |template| with(template, bytes(ck::CKA_VALUE, &MAC_VALUE[..16]));
    let tried = attempt(&session, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, same, mac).unwrap();
    if has_length {
        assert_fault(&tried.strict, KeyWeakness::Type, "a short secret");
    } else {
        tried.strict.unwrap();
    }
}

#[test]
fn key_of_another_type_is_refused() {
    let session = session();
    for algorithm in algorithms() {
        let key = |template: Vec<Attribute>| {
            let template = with(template, number(ck::CKA_KEY_TYPE, ck::CKK_GENERIC_SECRET));
            let template = with(template, flag(ck::CKA_ENCRYPT, false));
            with(template, flag(ck::CKA_DECRYPT, false))
        };
        let tried = attempt(&session, algorithm, key, same).unwrap();
        assert_fault(&tried.strict, KeyWeakness::Type, "no AES key");
        assert_fault(&tried.allowed, KeyWeakness::Type, "no AES key");
    }
    let mac = |template: Vec<Attribute>| {
        let template = with(template, number(ck::CKA_KEY_TYPE, ck::CKK_AES));
        with(template, flag(ck::CKA_ENCRYPT, true))
    };
    if let Some(tried) = attempt(&session, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, same, mac) {
        assert_fault(&tried.strict, KeyWeakness::Type, "an AES key as a secret");
    }
}

/// By label everywhere; by id where a token can have two objects of one id, which NSS cannot.
#[test]
fn name_that_two_keys_have_is_refused() {
    let session = session();
    let name = fresh("double");
    let twice = |id: &str| with(aes(&name, &VALUE), bytes(ck::CKA_ID, id));
    for id in [format!("{name}-1"), format!("{name}-2")] {
        session.create(&twice(&id)).unwrap();
    }
    let refused = |key: KeyRef, mac: KeyRef| {
        let version = KeyVersion::FIRST;
        let keys = ExternalKeys::new("orders").cbc_hmac(version, key, mac).primary(version);
        let keyring = ExternalKeyring::new(&options().token().unwrap(), &keys).unwrap();
        let error = Envelope::new(keyring).encrypt(b"row", Aad::none()).unwrap_err();
        let found = pkcs11_error(&error).clone();
        assert!(!error.is_retryable(), "{found:?}");
        found
    };
    let mac = fresh("single-mac");
    session.create(&secret(&mac, &MAC_VALUE)).unwrap();
    let found = refused(KeyRef::label(&name), KeyRef::label(&mac));
    let pkcs11::Error::KeyNotUnique { key, version } = &found else { panic!("{found:?}") };
    assert_eq!((&**key, *version), ("orders", KeyVersion::FIRST));
    if crate::token_env::name() != "nss" {
        let id = fresh("one-id");
        for label in ["one", "other"] {
            session.create(&with(aes(label, &VALUE), bytes(ck::CKA_ID, &id))).unwrap();
        }
        let found = refused(KeyRef::id(id), KeyRef::label(&mac));
        assert!(matches!(found, pkcs11::Error::KeyNotUnique { .. }), "{found:?}");
    }
}
