//! The objects of a version on the token, their ids, which follow from a slot, and their permitted
//! uses (THREATS row 62).

use crate::independent::{Bound, object_id};
use crate::keys::of_id;
use crate::raw_token::{Object, RawSession};
use crate::token_env::{CatalogueDirectory, algorithms, name, options, session};
use cryptoki_sys as ck;
use envelock::{Aad, Envelope, Lifecycle, format::WrapAlgorithm};

/// The one object of a role.
fn only(session: &RawSession, bound: &Bound, role: u8) -> Object {
    let key = std::str::from_utf8(&bound.name).unwrap();
    let id = object_id(bound.master_key_id, bound.version, key, role);
    let found = of_id(session, &id);
    assert_eq!(found.len(), 1, "{id:02x?}");
    found[0]
}

fn flag(session: &RawSession, object: Object, kind: ck::CK_ATTRIBUTE_TYPE) -> bool {
    let value = session.attribute(object, kind).unwrap();
    assert_eq!(value.len(), 1, "{kind:#x}");
    value != [0]
}

/// The permitted uses of each object, and no others.
fn assert_uses(session: &RawSession, object: Object, uses: [ck::CK_ATTRIBUTE_TYPE; 2]) {
    let every = [
        ck::CKA_ENCRYPT,
        ck::CKA_DECRYPT,
        ck::CKA_SIGN,
        ck::CKA_VERIFY,
        ck::CKA_WRAP,
        ck::CKA_UNWRAP,
        ck::CKA_DERIVE,
        ck::CKA_EXTRACTABLE,
    ];
    for kind in every {
        assert_eq!(flag(session, object, kind), uses.contains(&kind), "{kind:#x}");
    }
    for kind in [ck::CKA_TOKEN, ck::CKA_PRIVATE, ck::CKA_SENSITIVE] {
        assert!(flag(session, object, kind), "{kind:#x}");
    }
}

fn text(session: &RawSession, object: Object) -> String {
    String::from_utf8(session.attribute(object, ck::CKA_LABEL).unwrap()).unwrap()
}

/// The value of a key cannot be read.
fn assert_sealed(session: &RawSession, object: Object) {
    let value = session.attribute(object, ck::CKA_VALUE);
    assert_eq!(value, Err(ck::CKR_ATTRIBUTE_SENSITIVE));
}

#[test]
fn version_is_the_objects_that_its_slot_names() {
    let session = session();
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &options().algorithm(algorithm).token().unwrap());
        for number in 1..=3 {
            let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
            let bound = Bound::of(&message);
            assert_eq!((bound.version, bound.algorithm), (number, algorithm.id()));
            let object = only(&session, &bound, 1);
            assert_uses(&session, object, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT]);
            assert_eq!(text(&session, object), format!("orders/v{number}"));
            assert_sealed(&session, object);
            if algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC {
                let object = only(&session, &bound, 2);
                assert_uses(&session, object, [ck::CKA_SIGN, ck::CKA_VERIFY]);
                assert_eq!(text(&session, object), format!("orders/v{number}/mac"));
                assert_sealed(&session, object);
            } else {
                let id = object_id(bound.master_key_id, number, "orders", 2);
                assert!(of_id(&session, &id).is_empty());
            }
            keyring.rotate().unwrap();
        }
    }
}

/// Each catalogue has a key of its own, of the same kind.
#[test]
fn catalogue_is_under_a_key_of_its_own() {
    let session = session();
    let seals = |session: &RawSession| -> Vec<Object> {
        let keys = session.keys().into_iter();
        keys.filter(|key| text(session, *key) == "envelock.key-file/v1").collect()
    };
    let before = seals(&session);
    let directories = [CatalogueDirectory::new(), CatalogueDirectory::new()];
    let token = options().algorithm(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC).token().unwrap();
    let _keyrings = directories.each_ref().map(|directory| directory.create("orders", &token));
    let new: Vec<_> = seals(&session).into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(new.len(), 2);
    let ids = new.iter().map(|key| session.attribute(*key, ck::CKA_ID).unwrap());
    let ids: Vec<_> = ids.collect();
    assert_ne!(ids[0], ids[1]);
    for (key, id) in new.iter().zip(ids) {
        assert_uses(&session, *key, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT]);
        assert_sealed(&session, *key);
        let master = id[..8].try_into().unwrap();
        assert_eq!(id, object_id(master, 1, "envelock.key-file", 1));
    }
}

/// NSS denies it for keys that it generated itself, so nothing may depend on it.
#[test]
fn origin_of_key_is_not_asked() {
    let session = session();
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &options().token().unwrap());
    let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    let object = only(&session, &Bound::of(&message), 1);
    let local = session.attribute(object, ck::CKA_LOCAL).unwrap();
    assert_eq!(local, [u8::from(name() != "nss")]);
}
