//! Keys that a test puts on the token without the crate.

use crate::independent::Material;
use crate::raw_token::{Attribute, Object, RawSession, bytes, flag, number};
use cryptoki_sys as ck;
use envelock::{
    KeyVersion,
    format::WrapAlgorithm,
    pkcs11::{ExternalKeys, KeyRef},
};
use std::sync::atomic::{AtomicU32, Ordering};

pub const VALUE: [u8; 32] = *b"known value of an AES-256 key 42";
pub const MAC_VALUE: [u8; 32] = *b"known value of a secret for HMAC";

/// A name that no other object on the token has.
pub fn fresh(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}", std::process::id())
}

/// Every attribute of a sound AES key, for tests that change one.
pub fn aes(label: &str, value: &[u8]) -> Vec<Attribute> {
    key(label, ck::CKK_AES, value, true)
}

/// Every attribute of a sound secret for HMAC-SHA-256.
pub fn secret(label: &str, value: &[u8]) -> Vec<Attribute> {
    key(label, ck::CKK_GENERIC_SECRET, value, false)
}

fn key(label: &str, kind: ck::CK_KEY_TYPE, value: &[u8], encrypts: bool) -> Vec<Attribute> {
    vec![
        number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
        number(ck::CKA_KEY_TYPE, kind),
        flag(ck::CKA_TOKEN, true),
        flag(ck::CKA_PRIVATE, true),
        flag(ck::CKA_SENSITIVE, true),
        flag(ck::CKA_EXTRACTABLE, false),
        flag(ck::CKA_ENCRYPT, encrypts),
        flag(ck::CKA_DECRYPT, encrypts),
        flag(ck::CKA_SIGN, !encrypts),
        flag(ck::CKA_VERIFY, !encrypts),
        flag(ck::CKA_WRAP, false),
        flag(ck::CKA_UNWRAP, false),
        flag(ck::CKA_DERIVE, false),
        bytes(ck::CKA_LABEL, label),
        bytes(ck::CKA_ID, label),
        bytes(ck::CKA_VALUE, value),
    ]
}

/// The same, with another value of one attribute.
pub fn with(mut template: Vec<Attribute>, attribute: Attribute) -> Vec<Attribute> {
    template.retain(|old| old.0 != attribute.0);
    template.push(attribute);
    template
}

/// Puts known keys on the token, and returns how a keyring finds them.
pub fn put(session: &RawSession, algorithm: WrapAlgorithm) -> (Material, ExternalKeys) {
    let (name, mac_name) = (fresh("known"), fresh("known-mac"));
    session.create(&aes(&name, &VALUE)).unwrap();
    session.create(&secret(&mac_name, &MAC_VALUE)).unwrap();
    let material = Material { algorithm, encrypt: VALUE, mac: MAC_VALUE };
    (material, keys(algorithm, &name, &mac_name))
}

/// Version 3 of `orders` under objects of these labels.
pub fn keys(algorithm: WrapAlgorithm, name: &str, mac_name: &str) -> ExternalKeys {
    let version = KeyVersion::new(3).unwrap();
    let keys = ExternalKeys::new("orders");
    let keys = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM {
        keys.gcm(version, KeyRef::label(name))
    } else {
        let mac = KeyRef::label(mac_name);
        keys.cbc_hmac(version, KeyRef::label(name), mac)
    };
    keys.primary(version)
}

/// The objects of an id.
pub fn of_id(session: &RawSession, id: &[u8]) -> Vec<Object> {
    session.find(&[number(ck::CKA_CLASS, ck::CKO_SECRET_KEY), bytes(ck::CKA_ID, id)])
}
