//! Encryption and decryption under the key of a version, with the checks that each wrap needs.

use super::cbc_hmac::{self, CbcHmacKeys};
use super::gcm;
use super::object::TokenKeyName;
use super::self_test::{CipherMode, SelfTest};
use super::wiped::TokenBuffer;
use crate::OsRandom;
use crate::crypto::compare;
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::token::Attempt;
use rand_core::TryRng;

/// The longest IV of any algorithm.
pub(crate) const MAX_IV_LEN: usize = 16;

/// Random bytes for the IV of one wrap.
pub(crate) type IvBytes = [u8; MAX_IV_LEN];

/// Associated data of self-tests. No wrap has it.
const SELF_TEST: &[u8] = b"envelock token self-test v1";
const OTHER_TEST: &[u8] = b"envelock token self-test v2";

/// The plaintext of self-tests.
const CANARY: [u8; 32] = *b"envelock canary in a golden cage";

/// How many messages a self-test encrypts. They count as wraps.
pub(crate) const SELF_TEST_WRAPS: usize = 2;

pub(crate) fn random_iv() -> Result<IvBytes, Failure> {
    let mut iv = [0; MAX_IV_LEN];
    OsRandom.try_fill_bytes(&mut iv).map_err(Error::Randomness)?;
    Ok(iv)
}

/// Encrypts `key`. Returns the wrapped key.
pub(crate) fn encrypt(
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    mode: CipherMode,
    aad: &[u8],
    key: &[u8],
    iv: IvBytes,
) -> Result<TokenBuffer, Failure> {
    match mode {
        CipherMode::Gcm(mode) => {
            let [iv @ .., _, _, _, _] = iv;
            gcm::encrypt(attempt, mode, attempt.object(&name.encrypt)?, iv, aad, key)
        }
        CipherMode::CbcHmac => cbc_hmac::encrypt(attempt, keys(attempt, name)?, iv, aad, key),
    }
}

pub(crate) fn decrypt(
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    mode: CipherMode,
    aad: &[u8],
    wrapped: &[u8],
) -> Result<TokenBuffer, Failure> {
    match mode {
        CipherMode::Gcm(mode) => {
            gcm::decrypt(attempt, mode, attempt.object(&name.encrypt)?, aad, wrapped)
        }
        CipherMode::CbcHmac => cbc_hmac::decrypt(attempt, keys(attempt, name)?, aad, wrapped),
    }
}

fn keys(attempt: &Attempt<'_>, name: &TokenKeyName) -> Result<CbcHmacKeys, Failure> {
    let mac = name.mac.as_ref().ok_or(Failure::KeyMissing)?;
    Ok(CbcHmacKeys { encrypt: attempt.object(&name.encrypt)?, mac: attempt.object(mac)? })
}

/// Encrypts the canary twice and decrypts it, under the key itself.
pub(crate) fn self_test(
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    mode: CipherMode,
    [one, other]: [IvBytes; SELF_TEST_WRAPS],
) -> Result<SelfTest, Failure> {
    let first = encrypt(attempt, name, mode, SELF_TEST, &CANARY, one)?;
    let second = encrypt(attempt, name, mode, SELF_TEST, &CANARY, other)?;
    // IVs and tags differ anyway: the same ciphertext would be one key stream for all messages.
    if ciphertext(name, &first, CANARY.len()) == ciphertext(name, &second, CANARY.len()) {
        return Err(Failure::Wrong(WrongResponse::IvIgnored));
    }
    for wrapped in [&first, &second] {
        prove(attempt, name, mode, SELF_TEST, &CANARY, wrapped)?;
    }
    match decrypt(attempt, name, mode, OTHER_TEST, first.bytes()) {
        Ok(_) => Err(Failure::Wrong(WrongResponse::AadIgnored)),
        // It has to be refused, but not for the lack of a session.
        Err(Failure::Call(call)) if failure::remedy(&call) != Remedy::Device => {
            Err(Failure::Call(call))
        }
        Err(_) => Ok(SelfTest { mode, canary: first.bytes().to_vec() }),
    }
}

/// Decrypts the canary of a self-test.
pub(crate) fn check_canary(
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    mode: CipherMode,
    canary: &[u8],
) -> Result<(), Failure> {
    let decrypted = decrypt(attempt, name, mode, SELF_TEST, canary).map_err(not_forged)?;
    same(decrypted.bytes(), &CANARY)
}

/// Decrypts what was encrypted a moment ago, and compares it.
pub(crate) fn prove(
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    mode: CipherMode,
    aad: &[u8],
    key: &[u8],
    wrapped: &TokenBuffer,
) -> Result<(), Failure> {
    // A token that copies its input passes every round trip.
    if compare::equal(ciphertext(name, wrapped, key.len()), key) {
        return Err(Failure::Wrong(WrongResponse::NotEncrypted));
    }
    let decrypted = decrypt(attempt, name, mode, aad, wrapped.bytes()).map_err(not_forged)?;
    same(decrypted.bytes(), key)
}

/// The part of a wrapped key between IV and tag, for a key of `len` bytes.
#[expect(clippy::indexing_slicing, reason = "the length was checked when the key was wrapped")]
fn ciphertext<'w>(name: &TokenKeyName, wrapped: &'w TokenBuffer, len: usize) -> &'w [u8] {
    let iv_len = if name.mac.is_some() { cbc_hmac::IV_LEN } else { gcm::IV_LEN };
    &wrapped.bytes()[iv_len..][..len]
}

/// What the refusal of a valid input means.
fn not_forged(failure: Failure) -> Failure {
    match failure {
        Failure::Authentication => Failure::Wrong(WrongResponse::DoesNotUnwrap),
        Failure::Ambiguous(call) => Failure::Call(call),
        failure => failure,
    }
}

fn same(found: &[u8], expected: &[u8]) -> Result<(), Failure> {
    if compare::equal(found, expected) {
        Ok(())
    } else {
        Err(Failure::Wrong(WrongResponse::DoesNotUnwrap))
    }
}
