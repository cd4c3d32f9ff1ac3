//! Wrong results about objects, their attributes and their generation.

use cryptoki_sys::*;

use super::Check;
use crate::common::token::{DATA, IV, Token, p11};

/// How much longer a value is reported to be than it is.
const GARBAGE: CK_ULONG = 1000;

pub const CHECKS: &[Check] = &[
    ("find-nothing", |t, c| {
        t.arm(c);
        assert_eq!(t.find(4).expect("OK").0, 0);
        assert_eq!(t.find(4).expect("OK").0, 1);
    }),
    ("find-twice", |t, c| {
        t.arm(c);
        assert_eq!(t.find(1).expect("no room for two").0, 1);
        let (count, list) = t.find(4).expect("OK");
        assert_eq!((count, &list[..2]), (2, &[t.aes, t.aes][..]));
    }),
    ("find-foreign", |t, c| {
        t.arm(c);
        let (count, list) = t.find(4).expect("OK");
        assert_eq!((count, list[0]), (1, t.mac), "the other key");
    }),
    ("find-garbage", |t, c| {
        t.arm(c);
        let (count, list) = t.find(1).expect("OK");
        assert_eq!(count, 1);
        assert!(t.attribute::<CK_KEY_TYPE>(list[0], CKA_KEY_TYPE).0.is_err());
    }),
    ("find-beyond", |t, c| {
        t.arm(c);
        assert_eq!(t.find(4).expect("OK").0, 5);
    }),
    ("find-huge", |t, c| {
        t.arm(c);
        assert_eq!(t.find(4).expect("OK").0, CK_UNAVAILABLE_INFORMATION);
    }),
    ("attribute-extractable", |t, c| flag(t, c, CKA_EXTRACTABLE, false)),
    ("attribute-not-sensitive", |t, c| flag(t, c, CKA_SENSITIVE, true)),
    ("attribute-wrap", |t, c| flag(t, c, CKA_WRAP, false)),
    ("attribute-unwrap", |t, c| flag(t, c, CKA_UNWRAP, false)),
    ("attribute-key-type", |t, c| number(t, c, CKA_KEY_TYPE, CKK_AES, CKK_DES3)),
    ("attribute-value-len", |t, c| number(t, c, CKA_VALUE_LEN, 32, 16)),
    ("attribute-unavailable", |t, c| {
        t.arm(c);
        let (code, len, _) = t.attribute::<CK_BBOOL>(t.aes, CKA_SENSITIVE);
        assert_eq!((code, len), (Ok(()), CK_UNAVAILABLE_INFORMATION));
    }),
    ("attribute-length-garbage", |t, c| {
        t.arm(c);
        let (code, len, _) = t.attribute::<CK_BBOOL>(t.aes, CKA_SENSITIVE);
        assert_eq!((code, len), (Ok(()), 1 + GARBAGE));
    }),
    ("attribute-type-invalid", |t, c| {
        t.arm(c);
        let (code, len, _) = t.attribute::<CK_BBOOL>(t.aes, CKA_SENSITIVE);
        assert_eq!((code, len), (Err(CKR_ATTRIBUTE_TYPE_INVALID), CK_UNAVAILABLE_INFORMATION));
    }),
    ("generate-zero", |t, c| {
        t.arm(c);
        assert_eq!(t.generate(CKM_AES_KEY_GEN, CKK_AES), Ok(0));
        assert_eq!(t.find(8).expect("a search").0, 1, "no key generated");
    }),
    ("generate-extractable", |t, c| made(t, c, CKA_EXTRACTABLE, true)),
    ("generate-not-sensitive", |t, c| made(t, c, CKA_SENSITIVE, false)),
    ("generate-short", |t, c| {
        t.arm(c);
        let key = t.generate(CKM_AES_KEY_GEN, CKK_AES).expect("a key");
        assert_eq!(t.attribute::<CK_ULONG>(key, CKA_VALUE_LEN).2, 16);
    }),
    ("destroy-ignored", |t, c| {
        t.arm(c);
        p11!(t, C_DestroyObject(t.session, t.aes)).expect("OK");
        assert!(t.encrypt(IV, &DATA).is_ok(), "the key is still there");
        p11!(t, C_DestroyObject(t.session, t.aes)).expect("OK");
        assert!(t.encrypt(IV, &DATA).is_err());
    }),
];

fn flag(t: &mut Token, command: &str, type_: CK_ATTRIBUTE_TYPE, right: bool) {
    assert_eq!(t.flag(t.aes, type_), right);
    t.arm(command);
    assert!(t.flag(t.mac, CKA_SIGN), "another attribute");
    assert_eq!(t.flag(t.aes, type_), !right);
    assert_eq!(t.flag(t.aes, type_), right);
    assert_eq!(t.hostile.injected(), 1);
}

fn number(
    t: &mut Token,
    command: &str,
    type_: CK_ATTRIBUTE_TYPE,
    right: CK_ULONG,
    wrong: CK_ULONG,
) {
    t.arm(command);
    assert_eq!(t.attribute::<CK_ULONG>(t.aes, type_).2, wrong);
    assert_eq!(t.attribute::<CK_ULONG>(t.aes, type_).2, right);
}

fn made(t: &mut Token, command: &str, type_: CK_ATTRIBUTE_TYPE, value: bool) {
    t.arm(command);
    let key = t.generate(CKM_AES_KEY_GEN, CKK_AES).expect("a key");
    assert_eq!(t.flag(key, type_), value, "the key has it");
    assert_eq!(t.flag(t.aes, type_), !value);
}
