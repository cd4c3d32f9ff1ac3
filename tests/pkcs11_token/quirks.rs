//! Deviations of each token, shown by raw calls, so that their end is noticed, and then shown to have
//! no effect on the keyring.

use crate::independent::{Bound, object_id, wrapped};
use crate::keys::{VALUE, aes, fresh, of_id, put, with};
use crate::outside_changes::crashes_logged_out;
use crate::raw_token::{Gcm, bytes};
use crate::token_env::{
    CatalogueDirectory, algorithms, best, library, name, options, session, slot, token,
};
use cryptoki_sys as ck;
use envelock::{Aad, Envelope, Error, Lifecycle, format::WrapAlgorithm, pkcs11::ExternalKeyring};

const ROW: Aad<'static> = Aad::new(b"row 7");

/// NSS returns the length 32 for 48 bytes; the keyring never asks for a length.
#[test]
fn length_that_is_not_true_is_not_asked_for() {
    if best() != WrapAlgorithm::TOKEN_AES_256_GCM {
        return;
    }
    let session = session();
    let key = session.create(&aes(&fresh("length"), &VALUE)).unwrap();
    let job = Gcm { iv: [7; 12], iv_bits: 96, aad: b"row", data: &[1; 32] };
    let (rv, reported, _) = session.gcm(key, &job, None);
    assert_eq!((rv, reported), (ck::CKR_OK, if name() == "nss" { 32 } else { 48 }));
    let fresh_session = crate::token_env::session();
    let (rv, len, _) = fresh_session.gcm(key, &job, Some(96));
    assert_eq!((rv, len), (ck::CKR_OK, 48));
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    Envelope::new(&keyring).encrypt(b"row", ROW).unwrap();
}

/// NSS wants the length of an IV in bits too, which other tokens ignore.
#[test]
fn length_of_iv_is_given_in_bits() {
    if best() != WrapAlgorithm::TOKEN_AES_256_GCM {
        return;
    }
    let session = session();
    let key = session.create(&aes(&fresh("bits"), &VALUE)).unwrap();
    let job = |iv_bits| Gcm { iv: [7; 12], iv_bits, aad: b"row", data: &[1; 32] };
    let (rv, ..) = session.gcm(key, &job(0), Some(96));
    let expected = if name() == "nss" { ck::CKR_MECHANISM_PARAM_INVALID } else { ck::CKR_OK };
    assert_eq!(rv, expected);
    let (rv, len, _) = crate::token_env::session().gcm(key, &job(96), Some(96));
    assert_eq!((rv, len), (ck::CKR_OK, 48));
}

/// NSS silently replaces a key by a second one of the same id; others keep both. Ids of this crate are
/// random, so that no two keys share one, and rotations lose nothing.
#[test]
fn key_with_equal_id_does_not_replace_key_of_crate() {
    let session = session();
    let id = fresh("twice");
    let template = |label: &str| {
        let mut template = with(aes(label, &VALUE), bytes(ck::CKA_ID, &id));
        template.retain(|attribute| attribute.0 != ck::CKA_VALUE);
        let length = crate::raw_token::number(ck::CKA_VALUE_LEN, 32);
        with(template, length)
    };
    session.generate_aes(&template("first")).unwrap();
    session.generate_aes(&template("second")).unwrap();
    let left = of_id(&session, id.as_bytes()).len();
    assert_eq!(left, if name() == "nss" { 1 } else { 2 });
    let [one, other] = [CatalogueDirectory::new(), CatalogueDirectory::new()];
    let keyrings = [&one, &other].map(|directory| directory.create("orders", &token()));
    let mut messages = Vec::new();
    for _ in 0..3 {
        for keyring in &keyrings {
            messages.push((keyring, Envelope::new(keyring).encrypt(b"row", ROW).unwrap()));
            keyring.rotate().unwrap();
        }
    }
    for (keyring, message) in &messages {
        assert_eq!(Envelope::new(keyring).decrypt(message, ROW).unwrap(), b"row");
    }
    let id = |message: &[u8]| {
        let bound = Bound::of(message);
        object_id(bound.master_key_id, bound.version, "orders", 1)
    };
    let mut ids: Vec<_> = messages.iter().map(|(_, message)| id(message)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

/// opencryptoki has no AES-GCM here, and a clock of another form than the standard's.
#[test]
fn token_without_gcm_falls_back_by_itself() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let algorithm = keyring.versions()[0].algorithm;
    let report = token().probe().unwrap();
    assert_eq!(report.chosen(), Some(algorithm));
    let known: Vec<_> = report.algorithms.iter().map(|it| it.known_answer).collect();
    let is_ock = name() == "opencryptoki";
    assert_eq!(known, [if is_ock { None } else { Some(true) }, Some(true)]);
    assert_eq!(report.algorithms[0].error.is_some(), is_ock);
    let time = library().token_info(slot()).utcTime;
    if is_ock {
        assert_eq!(algorithm, WrapAlgorithm::TOKEN_AES_256_CBC_HMAC);
        assert!(time.contains(&b':'), "{time:?}");
    }
}

/// SoftHSM returns CKR_GENERAL_ERROR for a wrong tag, which is no failure of the token. Kryoptic's
/// code for a destroyed key is no failed authentication.
#[test]
fn wrong_tag_is_a_forgery_and_not_an_outage() {
    for algorithm in algorithms() {
        let (_, keys) = put(&session(), algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(b"row", ROW).unwrap();
        let mut forged = message.clone();
        let last = wrapped(&message).end - 1;
        forged[last] ^= 1;
        for _ in 0..10 {
            let error = envelope.decrypt(&forged, ROW).unwrap_err();
            assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), b"row");
        }
        // Also the very first call of a process that never used the key.
        let keyring = ExternalKeyring::new(&options().token().unwrap(), &keys).unwrap();
        let error = Envelope::new(&keyring).decrypt(&forged, ROW).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
    }
}

/// Tokens have four codes for "not logged in"; kryoptic's is CKR_GENERAL_ERROR.
#[test]
fn forgery_differs_from_lost_login() {
    for algorithm in algorithms() {
        if crashes_logged_out(algorithm) {
            continue;
        }
        let (_, keys) = put(&session(), algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(b"row", ROW).unwrap();
        let mut forged = message.clone();
        forged[wrapped(&message).start] ^= 1;
        for _ in 0..5 {
            assert_eq!(session().logout(), ck::CKR_OK);
            let error = envelope.decrypt(&forged, ROW).unwrap_err();
            assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
            assert_eq!(session().logout(), ck::CKR_OK);
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), b"row");
        }
    }
}
