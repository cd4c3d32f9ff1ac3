//! Known-answer tests: whether a token supports a wrap algorithm, and computes it right.

use super::object::class;
use super::self_test::KnownAnswers;
use super::wrap::gcm_mechanism;
use crate::crypto::compare;
use crate::format::WrapAlgorithm;
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{
    Attribute, CallFailure,
    CryptOperation::{Decrypt, Encrypt, Sign},
    Function, GcmIv, Mechanism, ObjectHandle, TokenBuffer, ck,
};
use crate::keyring::pkcs11::token::library::LibraryAccess;
use crate::keyring::pkcs11::token::recovery::{Remedy, remedy_of};
use crate::keyring::pkcs11::token::time_limit::TimeLimit;
use crate::keyring::pkcs11::token::{Attempt, Token};
use crate::sync::lock;

// Results of Python's `cryptography` 46 for inputs from SHA-512 of "envelock token known answer " and
// the name of each; see ci/python/token_answers.py.
const KEY: [u8; 32] = [
    0xe6, 0xc6, 0x8d, 0x35, 0xbb, 0x00, 0x61, 0x13, 0x2b, 0xc5, 0x0b, 0x02, 0x90, 0x13, 0x51, 0x01,
    0xb2, 0xd6, 0x08, 0xf9, 0x05, 0x01, 0xe0, 0xaf, 0x5d, 0xe4, 0x7c, 0x36, 0x97, 0x0e, 0x0a, 0x57,
];
const GCM_IV: [u8; 12] = [0x4d, 0x56, 0xb0, 0x03, 0xf4, 0xb7, 0x98, 0xb7, 0x6a, 0x78, 0x00, 0xa8];
const CBC_IV: [u8; 16] = [
    0xe7, 0xc3, 0x90, 0xb5, 0xe0, 0xa7, 0x62, 0x42, 0x51, 0x1c, 0xf5, 0xea, 0xe2, 0x08, 0x10, 0x0a,
];
const AAD: &[u8] = b"envelock known answer";
const PLAINTEXT: [u8; 32] = [
    0x11, 0x45, 0x7b, 0xff, 0x7f, 0x46, 0x0a, 0x9d, 0x3f, 0x11, 0xf6, 0xac, 0x57, 0x58, 0x39, 0xc2,
    0xf0, 0x40, 0x67, 0x42, 0x61, 0x03, 0xd6, 0xbe, 0x75, 0xb8, 0x94, 0x2b, 0xd2, 0xae, 0x77, 0xc0,
];
const GCM: [u8; 48] = [
    0xb9, 0x9e, 0xfe, 0xde, 0x8c, 0xcc, 0xb5, 0xd4, 0xf3, 0x8a, 0xed, 0xa1, 0x19, 0x05, 0x5d, 0xff,
    0x30, 0x08, 0x15, 0xb5, 0x0b, 0x18, 0xa7, 0xa8, 0x31, 0x7e, 0xc4, 0x64, 0xcd, 0x6f, 0xe1, 0xf5,
    0xa7, 0x16, 0xf2, 0xed, 0x86, 0xdf, 0x39, 0x54, 0x12, 0x11, 0xa5, 0xa8, 0xbc, 0x0c, 0xd2, 0x0d,
];
const CBC: [u8; 32] = [
    0x21, 0x9d, 0x70, 0xe1, 0x2f, 0xcf, 0x3f, 0x4c, 0x73, 0x43, 0x59, 0x9b, 0xec, 0xbb, 0xb7, 0xc3,
    0x3b, 0x0f, 0x2b, 0xc2, 0x0a, 0x21, 0x9d, 0x34, 0xe7, 0xd4, 0xfa, 0x70, 0xfb, 0xdf, 0xe2, 0x0d,
];
const HMAC: [u8; 32] = [
    0x21, 0x92, 0x86, 0xf5, 0xb8, 0x41, 0x7b, 0xc5, 0xe1, 0x47, 0xcd, 0x78, 0x8c, 0x18, 0x37, 0x74,
    0xf6, 0xe3, 0x80, 0xff, 0x44, 0x00, 0x05, 0x2e, 0x5f, 0x35, 0x2b, 0xd5, 0xf3, 0x37, 0x90, 0xc6,
];

/// Fails unless the token lists the mechanisms of an algorithm and passes its known-answer tests.
pub(crate) fn check_algorithm(
    token: &Token,
    algorithm: WrapAlgorithm,
    limit: &TimeLimit,
) -> Result<KnownAnswers, Failure> {
    check_listed(token, algorithm, limit)?;
    if let Some(known) = lock(&token.0.known_answers).get(&algorithm.id()) {
        return Ok(*known);
    }
    // Creates objects, if only for a session.
    let known = token.run(LibraryAccess::Exclusive, limit, |attempt| {
        let tested = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM {
            test_gcm(attempt, gcm_mechanism(token))
        } else {
            test_cbc(attempt).and_then(|()| test_hmac(attempt))
        };
        match tested {
            Err(Failure::Call(call)) if refuses_import(&call) => Ok(KnownAnswers::NotTested),
            tested => tested.map(|()| KnownAnswers::Passed),
        }
    })?;
    lock(&token.0.known_answers).insert(algorithm.id(), known);
    Ok(known)
}

/// Excludes an algorithm that the token does not list. Tokens also list mechanisms that fail.
fn check_listed(token: &Token, algorithm: WrapAlgorithm, limit: &TimeLimit) -> Result<(), Failure> {
    let both = ck::CKF_ENCRYPT | ck::CKF_DECRYPT;
    let needed: &[_] = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM {
        &[(gcm_mechanism(token), both)]
    } else {
        &[(ck::CKM_AES_CBC, both), (ck::CKM_SHA256_HMAC, ck::CKF_SIGN)]
    };
    token.run(LibraryAccess::Shared, limit, |attempt| {
        let (functions, slot) = (attempt.session.functions, attempt.connection.slot);
        let listed = functions.mechanisms(slot)?;
        for (number, flags) in needed {
            if !listed.contains(number)
                || functions.mechanism_flags(slot, *number)? & flags != *flags
            {
                let what = alloc::format!("{algorithm}: no mechanism {number:#x}");
                return Err(Error::Algorithm { what }.into());
            }
        }
        Ok(())
    })
}

fn test_gcm(attempt: &Attempt<'_>, number: ck::CK_MECHANISM_TYPE) -> Result<(), Failure> {
    with_key(attempt, ck::CKK_AES, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT], |key| {
        let decrypt_with = |iv: GcmIv<'_>, sealed: &[u8], aad: &[u8]| {
            let mechanism = Mechanism::Gcm { number, iv, aad };
            check(attempt.session.crypt(Decrypt, mechanism, key, sealed)?, &PLAINTEXT)
        };
        let decrypt = |aad: &[u8]| match decrypt_with(GcmIv::Given(&mut GCM_IV.clone()), &GCM, aad)
        {
            // A mechanism of a vendor that expects the IV before the ciphertext.
            Err(Failure::Call(call)) if failure::is_mechanism(&call) => {
                decrypt_with(GcmIv::Absent, &[&GCM_IV[..], &GCM].concat(), aad)
            }
            tested => tested,
        };
        decrypt(AAD)?;
        // Other associated data has to be refused, with any code.
        match decrypt(b"envelock known answeR") {
            Ok(()) => Err(Failure::Wrong(WrongResponse::KnownAnswer)),
            Err(_) => Ok(()),
        }
    })
}

fn test_cbc(attempt: &Attempt<'_>) -> Result<(), Failure> {
    with_key(attempt, ck::CKK_AES, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT], |key| {
        let mechanism = Mechanism::Cbc { iv: &mut CBC_IV.clone() };
        check(attempt.session.crypt(Encrypt, mechanism, key, &PLAINTEXT)?, &CBC)
    })
}

fn test_hmac(attempt: &Attempt<'_>) -> Result<(), Failure> {
    with_key(attempt, ck::CKK_GENERIC_SECRET, [ck::CKA_SIGN, ck::CKA_VERIFY], |key| {
        check(attempt.session.crypt(Sign, Mechanism::Hmac, key, &PLAINTEXT)?, &HMAC)
    })
}

/// Imports the known key for this session, and destroys it after `test`.
fn with_key(
    attempt: &Attempt<'_>,
    key_type: ck::CK_ULONG,
    [one, other]: [ck::CK_ATTRIBUTE_TYPE; 2],
    test: impl FnOnce(ObjectHandle) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let template = [
        class(),
        Attribute::number(ck::CKA_KEY_TYPE, key_type),
        Attribute::bool(ck::CKA_TOKEN, false),
        Attribute::bool(ck::CKA_PRIVATE, true),
        Attribute::bool(one, true),
        Attribute::bool(other, true),
        Attribute::bytes(ck::CKA_VALUE, &KEY),
    ];
    let key = attempt.session.create_object(&template)?;
    let tested = test(key);
    drop(attempt.session.destroy_object(key));
    tested
}

/// Whether the token imports no keys. The code for that depends on the token.
fn refuses_import(call: &CallFailure) -> bool {
    call.function == Function::C_CreateObject && remedy_of(call) == Remedy::None
}

fn check(found: TokenBuffer, expected: &[u8]) -> Result<(), Failure> {
    if compare::equal(found.bytes(), expected) {
        Ok(())
    } else {
        Err(Failure::Wrong(WrongResponse::KnownAnswer))
    }
}
