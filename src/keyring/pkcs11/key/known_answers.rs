//! What a token can do: what it lists, whether it gives known answers, and what a key of its own
//! does.

use super::object::{bytes, class, flag};
use super::wiped::WipedBuffer;
use crate::crypto::compare;
use crate::format::WrapAlgorithm;
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::ffi::{Attribute, GcmIv, Mechanism, Object, Value, ck};
use crate::keyring::pkcs11::token::library::Access;
use crate::keyring::pkcs11::token::time_limit::TimeLimit;
use crate::keyring::pkcs11::token::{Attempt, Inner};
use crate::sync::lock;
use alloc::collections::BTreeMap;

/// What was found out of a token in this process, by wrap algorithm.
#[derive(Default)]
pub(crate) struct KnownAnswers {
    known_answers: BTreeMap<u8, KnownAnswer>,
}

/// What came of asking for known answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownAnswer {
    /// They are right.
    Right,
    /// The token takes no key from outside, so that nothing is known of its answers but that they
    /// fit together.
    NotAsked,
}

// Answers of Python's `cryptography` 46 to inputs that come from SHA-512 of
// "envelock token known answer " and the name of each; see ci/python/token_answers.py.
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

impl Inner {
    /// Whether the token lists what an algorithm needs, and gives the known answers.
    pub(crate) fn check_algorithm(
        &self,
        algorithm: WrapAlgorithm,
        limit: &TimeLimit,
    ) -> Result<KnownAnswer, Failure> {
        self.check_listed(algorithm, limit)?;
        if let Some(known) = lock(&self.known_answers).known_answers.get(&algorithm.id()) {
            return Ok(*known);
        }
        let is_gcm = algorithm == WrapAlgorithm::TOKEN_AES_256_GCM;
        // Makes objects, if only for a session.
        let known = self.run(Access::Exclusive, limit, |work| {
            let answer = if is_gcm { self.ask_gcm(work) } else { ask_cbc_and_hmac(work) };
            match answer {
                Err(Failure::Call(call)) if refuses_import(&call) => Ok(KnownAnswer::NotAsked),
                answer => answer.map(|()| KnownAnswer::Right),
            }
        })?;
        lock(&self.known_answers).known_answers.insert(algorithm.id(), known);
        Ok(known)
    }

    /// Lists lie, so this only rules out.
    fn check_listed(&self, algorithm: WrapAlgorithm, limit: &TimeLimit) -> Result<(), Failure> {
        let both = ck::CKF_ENCRYPT | ck::CKF_DECRYPT;
        let needed: &[_] = if algorithm == WrapAlgorithm::TOKEN_AES_256_GCM {
            &[(self.gcm_number(), both)]
        } else {
            &[(ck::CKM_AES_CBC, both), (ck::CKM_SHA256_HMAC, ck::CKF_SIGN)]
        };
        self.run(Access::Shared, limit, |work| {
            let listed = work.inside.mechanisms(work.connection.slot)?;
            for (number, flags) in needed {
                let missing = || {
                    let what = alloc::format!("{algorithm}: no mechanism {number:#x}");
                    Failure::Error(Error::Algorithm { what })
                };
                if !listed.contains(number) {
                    return Err(missing());
                }
                let found = work.inside.mechanism_flags(work.connection.slot, *number)?;
                if found & flags != *flags {
                    return Err(missing());
                }
            }
            Ok(())
        })
    }

    fn ask_gcm(&self, work: &Attempt<'_>) -> Result<(), Failure> {
        let key = import(work, ck::CKK_AES, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT])?;
        let decrypt_by = |iv: GcmIv<'_>, sealed: &[u8], aad: &[u8]| {
            let mut output = WipedBuffer::new();
            let mechanism = Mechanism::Gcm { number: self.gcm_number(), iv, aad };
            let len = work.inside.decrypt(work.session, mechanism, key, sealed, output.space())?;
            right(output.get(..len), &PLAINTEXT)
        };
        let decrypt = |aad: &[u8]| match decrypt_by(GcmIv::Given(&mut GCM_IV.clone()), &GCM, aad) {
            // A vendor's mechanism that wants the IV before the ciphertext.
            Err(Failure::Call(call)) if failure::is_mechanism(&call) => {
                decrypt_by(GcmIv::Absent, &[&GCM_IV[..], &GCM].concat(), aad)
            }
            answer => answer,
        };
        let answer = decrypt(AAD);
        // That associated data counts: what refuses it is no matter here.
        let forged = decrypt(b"envelock known answeR");
        drop(work.inside.destroy_object(work.session, key));
        answer?;
        if forged.is_ok() { Err(Failure::Wrong(WrongResponse::KnownAnswer)) } else { Ok(()) }
    }
}

fn ask_cbc_and_hmac(work: &Attempt<'_>) -> Result<(), Failure> {
    let key = import(work, ck::CKK_AES, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT])?;
    let (mut iv, mut output) = (CBC_IV, WipedBuffer::new());
    let mechanism = Mechanism::Cbc { iv: &mut iv };
    let len = work.inside.encrypt(work.session, mechanism, key, &PLAINTEXT, output.space());
    let answer = len.map_err(Failure::from).and_then(|len| right(output.get(..len), &CBC));
    drop(work.inside.destroy_object(work.session, key));
    answer?;
    let key = import(work, ck::CKK_GENERIC_SECRET, [ck::CKA_SIGN, ck::CKA_VERIFY])?;
    let len = work.inside.sign(work.session, key, &PLAINTEXT, output.space());
    let answer = len.map_err(Failure::from).and_then(|len| right(output.get(..len), &HMAC));
    drop(work.inside.destroy_object(work.session, key));
    answer
}

/// The known key, for this session only.
fn import(
    work: &Attempt<'_>,
    key_type: ck::CK_ULONG,
    uses: [ck::CK_ATTRIBUTE_TYPE; 2],
) -> Result<Object, Failure> {
    let [one, other] = uses;
    let template = [
        class(),
        Attribute { kind: ck::CKA_KEY_TYPE, value: Value::Number(key_type) },
        flag(ck::CKA_TOKEN, false),
        flag(ck::CKA_PRIVATE, true),
        flag(one, true),
        flag(other, true),
        bytes(ck::CKA_VALUE, &KEY),
    ];
    Ok(work.inside.create_object(work.session, &template)?)
}

/// Whether a token takes no keys from outside: by whatever code, of that call alone.
fn refuses_import(call: &crate::keyring::pkcs11::ffi::CallFailure) -> bool {
    call.function == crate::keyring::pkcs11::ffi::Function::C_CreateObject
        && failure::remedy(call) == Remedy::Permanent
}

fn right(found: Option<&[u8]>, expected: &[u8]) -> Result<(), Failure> {
    match found {
        Some(found) if compare::equal(found, expected) => Ok(()),
        _ => Err(Failure::Wrong(WrongResponse::KnownAnswer)),
    }
}
