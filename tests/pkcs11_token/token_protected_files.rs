//! A file keyring that a token unseals: fast wraps, with a root key in hardware.

use crate::independent::{Bound, object_id};
use crate::keys::{of_id, put};
use crate::token_env::{
    CatalogueDirectory, algorithms, best, options, pkcs11_error, session, token,
};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, FileKeyring, KeyVersion, Keyring, Lifecycle, Pkcs11Keyring,
    file::{Protection, ProtectionKind},
    format::WrapAlgorithm,
    pkcs11::{self, ExternalKeyring},
};
use std::sync::Arc;

const ROW: Aad<'static> = Aad::new(b"row 7");

/// Makes a file under `outer`, uses it, and opens it again with `again`.
fn seal(directory: &CatalogueDirectory, outer: Arc<dyn Keyring>, again: Arc<dyn Keyring>) {
    let path = directory.path("file");
    let file = FileKeyring::create(&path, "orders", &Protection::keyring(outer)).unwrap();
    assert_eq!(file.protections()[0].kind, Some(ProtectionKind::Keyring));
    let message = Envelope::new(&file).encrypt(b"row", ROW).unwrap();
    assert_eq!(Bound::of(&message).algorithm, WrapAlgorithm::XAES_256_GCM.id());
    file.rotate().unwrap();
    drop(file);
    let file = FileKeyring::open_any(&path, &Protection::keyring(again)).unwrap();
    assert_eq!(file.primary_version(), KeyVersion::new(2));
    assert_eq!(Envelope::new(&file).decrypt(&message, ROW).unwrap(), b"row");
}

#[test]
fn token_unseals_a_file_of_software_keys() {
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let token = options().algorithm(algorithm).token().unwrap();
        let outer = Arc::new(directory.create("outer", &token));
        let again =
            || Pkcs11Keyring::open_any(directory.path("catalogue"), &options().token().unwrap());
        seal(&directory, outer, Arc::new(again().unwrap()));
    }
}

#[test]
fn key_of_others_unseals_a_file_of_software_keys() {
    for algorithm in algorithms() {
        let (_, keys) = put(&session(), algorithm);
        let keyring = || Arc::new(ExternalKeyring::new(&token(), &keys).unwrap());
        seal(&CatalogueDirectory::new(), keyring(), keyring());
    }
}

/// An open file needs no token; without one it does not open.
#[test]
fn sealed_file_is_of_no_use_without_its_token_key() {
    let directory = CatalogueDirectory::new();
    let outer = Arc::new(directory.create("outer", &token()));
    let path = directory.path("file");
    let protection = Protection::keyring(outer.clone());
    let file = FileKeyring::create(&path, "orders", &protection).unwrap();
    let probe = Envelope::new(&outer).encrypt(b"", ROW).unwrap();
    let bound = Bound::of(&probe);
    let session = session();
    let key = of_id(&session, &object_id(bound.master_key_id, 1, "outer", 1));
    assert_eq!(session.destroy(key[0]), ck::CKR_OK);
    let message = Envelope::new(&file).encrypt(b"row", ROW).unwrap();
    assert_eq!(Envelope::new(&file).decrypt(&message, ROW).unwrap(), b"row");
    let error = FileKeyring::open_any(&path, &protection).unwrap_err();
    assert!(matches!(pkcs11_error(&error), pkcs11::Error::KeyNotFound { .. }), "{error:?}");
    assert_eq!(outer.versions()[0].algorithm, best());
}

/// Without the key of a catalogue nothing opens, and the error says so.
#[test]
fn catalogue_without_its_key_does_not_open() {
    let session = session();
    let before = session.keys();
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    drop(keyring);
    let label = |key| session.attribute(key, ck::CKA_LABEL).unwrap();
    let new = session.keys().into_iter().filter(|key| !before.contains(key));
    for key in new.filter(|key| label(*key).starts_with(b"envelock.key-file/")) {
        assert_eq!(session.destroy(key), ck::CKR_OK);
    }
    let error = Pkcs11Keyring::open_any(directory.path("catalogue"), &token()).unwrap_err();
    let found = pkcs11_error(&error);
    assert!(
        matches!(found, pkcs11::Error::KeyNotFound { key, .. } if key == "envelock.key-file"),
        "{found:?}"
    );
}
