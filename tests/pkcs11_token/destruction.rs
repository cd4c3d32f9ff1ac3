//! A key that is destroyed on record is destroyed on the token, at once or with the next change. A key
//! that another process destroyed there is reported as missing.

use crate::independent::{Bound, object_id};
use crate::keys::{VALUE, aes, of_id, with};
use crate::raw_token::bytes;
use crate::token_env::{CatalogueDirectory, algorithms, options, pkcs11_error, session, token};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm,
    keyring::Refusal, keyset::VersionState, pkcs11,
};

fn encrypt(keyring: &Pkcs11Keyring) -> Vec<u8> {
    Envelope::new(keyring).encrypt(b"row", Aad::none()).unwrap()
}

/// The ids of both objects that a message's version may have.
fn ids(message: &[u8]) -> [Vec<u8>; 2] {
    let bound = Bound::of(message);
    [1, 2].map(|role| object_id(bound.master_key_id, bound.version, "orders", role))
}

/// Disables the first version, and destroys it.
fn destroy_first(keyring: &Pkcs11Keyring) {
    keyring.disable(KeyVersion::FIRST).unwrap();
    keyring.destroy_immediately(KeyVersion::FIRST).unwrap();
}

#[test]
fn destroyed_version_alone_leaves_the_token() {
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &options().algorithm(algorithm).token().unwrap());
        let old = encrypt(&keyring);
        keyring.rotate().unwrap();
        let new = encrypt(&keyring);
        let session = session();
        let count = |message: &[u8]| -> usize {
            ids(message).iter().map(|id| of_id(&session, id).len()).sum()
        };
        let each = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM { 1 } else { 2 };
        assert_eq!([count(&old), count(&new)], [each, each]);
        destroy_first(&keyring);
        assert_eq!([count(&old), count(&new)], [0, each]);
        let envelope = Envelope::new(&keyring);
        let error = envelope.decrypt(&old, Aad::none()).unwrap_err();
        let refusal = Refusal::Destroyed;
        assert!(matches!(error, Error::Refused { refusal: found, .. } if found == refusal));
        assert_eq!(envelope.decrypt(&new, Aad::none()).unwrap(), b"row");
    }
}

/// A key that another process destroyed, while a keyring has its handle: for this keyring, and for
/// one that never used it.
#[test]
fn key_that_others_destroyed_is_not_found() {
    let directory = CatalogueDirectory::new();
    let token = token();
    let keyring = directory.create("orders", &token);
    let old = encrypt(&keyring);
    keyring.rotate().unwrap();
    let new = encrypt(&keyring);
    let session = session();
    for object in of_id(&session, &ids(&old)[0]) {
        assert_eq!(session.destroy(object), ck::CKR_OK);
    }
    let reopened =
        Pkcs11Keyring::open_any(directory.path("catalogue"), &options().token().unwrap()).unwrap();
    for keyring in [&keyring, &reopened] {
        let error = Envelope::new(keyring).decrypt(&old, Aad::none()).unwrap_err();
        let found = pkcs11_error(&error);
        let pkcs11::Error::KeyNotFound { key, version } = found else { panic!("{found:?}") };
        assert_eq!((&**key, *version), ("orders", KeyVersion::FIRST));
        assert!(matches!(error, Error::Backend(_)) && !error.is_retryable());
        assert_eq!(Envelope::new(keyring).decrypt(&new, Aad::none()).unwrap(), b"row");
    }
    keyring.promote(KeyVersion::FIRST).unwrap();
    let error = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap_err();
    assert!(matches!(pkcs11_error(&error), pkcs11::Error::KeyNotFound { .. }), "{error:?}");
}

/// The state after a crash between the change of the record and that of the token.
#[test]
fn remains_of_destroyed_version_go_with_next_change() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let old = encrypt(&keyring);
    keyring.rotate().unwrap();
    destroy_first(&keyring);
    assert_eq!(keyring.versions()[0].state, VersionState::Destroyed);
    let session = session();
    for id in ids(&old) {
        let left = with(aes("left", &VALUE), bytes(ck::CKA_ID, &id));
        session.create(&left).unwrap();
        assert_eq!(of_id(&session, &id).len(), 1);
    }
    // The id belongs to another keyring: the key is left alone.
    let foreign = crate::keys::fresh("foreign");
    session.create(&aes(&foreign, &VALUE)).unwrap();
    let reopened = Pkcs11Keyring::open_any(directory.path("catalogue"), &token()).unwrap();
    assert_eq!(of_id(&session, &ids(&old)[0]).len(), 1, "opening changes nothing");
    reopened.rotate().unwrap();
    for id in ids(&old) {
        assert!(of_id(&session, &id).is_empty());
    }
    assert_eq!(of_id(&session, foreign.as_bytes()).len(), 1);
}

/// NSS keeps one of two keys with equal ids, other tokens keep both.
#[test]
fn version_with_several_objects_loses_them_all() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let old = encrypt(&keyring);
    keyring.rotate().unwrap();
    let (session, id) = (session(), ids(&old)[0].clone());
    for _ in 0..3 {
        session.create(&with(aes("double", &VALUE), bytes(ck::CKA_ID, &id))).unwrap();
    }
    assert!(!of_id(&session, &id).is_empty());
    destroy_first(&keyring);
    assert!(of_id(&session, &id).is_empty());
}

/// Without a login the token shows no keys: that does not prove that they are destroyed.
#[test]
fn version_is_destroyed_though_others_logged_out() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let old = encrypt(&keyring);
    keyring.rotate().unwrap();
    keyring.disable(KeyVersion::FIRST).unwrap();
    let session = session();
    assert_eq!(session.logout(), ck::CKR_OK);
    keyring.destroy_immediately(KeyVersion::FIRST).unwrap();
    assert!(session.is_logged_in());
    for id in ids(&old) {
        assert!(of_id(&session, &id).is_empty());
    }
}
