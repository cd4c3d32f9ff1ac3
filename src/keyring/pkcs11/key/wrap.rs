//! Wrapping and unwrapping under a key of a token, with proof of each result.

use super::cipher::{
    self, IvBytes, SELF_TEST_WRAPS, check_canary, decrypt, encrypt, prove, random_iv,
};
use super::object::{ObjectName, TokenKeyName};
use super::self_test::{CipherMode, GcmMode, IvMode, SelfTest};
use super::wiped::TokenBuffer;
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{CallFault, ck};
use crate::keyring::pkcs11::token::library::LibraryAccess;
use crate::keyring::pkcs11::token::time_limit::TimeLimit;
use crate::keyring::pkcs11::token::{Attempt, Token};
use crate::sync::lock;
use alloc::sync::Arc;

/// How often a token without faults has to refuse an input, before it counts as forged.
const REFUSALS: usize = 5;

/// Wraps `key`, unwraps the result and compares. `iv` is random.
pub(crate) fn wrap(
    token: &Token,
    name: &TokenKeyName,
    aad: &[u8],
    key: &[u8],
    iv: IvBytes,
) -> Result<TokenBuffer, Failure> {
    let limit = token.time_limit();
    let tested = self_test(token, name, &limit)?;
    match wrap_as(token, &limit, name, &tested, aad, key, iv) {
        // The token has changed since the self-test: another machine with another mode may have
        // taken over.
        Err(failure) if is_of_mode(&failure) || matches!(failure, Failure::Wrong(_)) => {
            let fresh = self_test_again(token, name, &limit)?;
            // The mode may be another one, the key may not.
            token.run(LibraryAccess::Shared, &limit, |attempt| {
                check_canary(attempt, name, fresh.mode, &tested.canary)
            })?;
            lock(&token.0.self_tests).insert(name.encrypt.clone(), fresh.clone());
            wrap_as(token, &limit, name, &fresh, aad, key, iv)
        }
        outcome => outcome,
    }
}

fn wrap_as(
    token: &Token,
    limit: &TimeLimit,
    name: &TokenKeyName,
    tested: &SelfTest,
    aad: &[u8],
    key: &[u8],
    iv: IvBytes,
) -> Result<TokenBuffer, Failure> {
    token.run(LibraryAccess::Shared, limit, |attempt| {
        // A new connection may lead to another machine, and a handle to another key. A key of others
        // or one that ignores IVs passes the proof below, and not this one.
        if !attempt.connection.is_proven(attempt.logins, &name.encrypt) {
            prove_key(attempt, name, tested)?;
        }
        // Each attempt encrypts the same message under the same IV, which discloses nothing.
        let wrapped = encrypt(attempt, name, tested.mode, aad, key, iv)?;
        prove(attempt, name, tested.mode, aad, key, &wrapped)?;
        Ok(wrapped)
    })
}

/// Unwraps `wrapped`.
pub(crate) fn unwrap(
    token: &Token,
    name: &TokenKeyName,
    aad: &[u8],
    wrapped: &[u8],
) -> Result<TokenBuffer, Failure> {
    let limit = token.time_limit();
    let mode = decrypt_mode(token, name, &limit)?;
    let (mut refusals, mut is_proven) = (0_usize, false);
    loop {
        let unwrapped = token.run(LibraryAccess::Shared, &limit, |attempt| {
            decrypt(attempt, name, mode, aad, wrapped)
        });
        let failure = match unwrapped {
            // Forged, or decrypted under another key that has the handle now.
            Err(Failure::Authentication) if !is_proven => {
                is_proven = true;
                check_health(token, name, &limit)?;
                continue;
            }
            Err(Failure::Ambiguous(failure)) => failure,
            unwrapped => return unwrapped,
        };
        // The code does not distinguish a forged input from a faulty token, a valid input does.
        check_health(token, name, &limit).map_err(|fault| match fault {
            Failure::Ambiguous(_) | Failure::Authentication => Failure::Call(failure),
            fault => fault,
        })?;
        refusals += 1;
        if refusals >= REFUSALS {
            return Err(Failure::Authentication);
        }
    }
}

/// Fails unless the token can decrypt under this key.
fn check_health(token: &Token, name: &TokenKeyName, limit: &TimeLimit) -> Result<(), Failure> {
    match self_test(token, name, limit) {
        Ok(tested) => {
            token.run(LibraryAccess::Shared, limit, |attempt| prove_key(attempt, name, &tested))
        }
        // A key that may not encrypt has no canary: that its object can be found has to do.
        Err(Failure::Call(failure)) if failure::is_disabled(&failure) => {
            token.run(LibraryAccess::Shared, limit, |attempt| {
                attempt.object(&name.encrypt).map(drop)
            })
        }
        Err(failure) => Err(failure),
    }
}

fn prove_key(attempt: &Attempt<'_>, name: &TokenKeyName, tested: &SelfTest) -> Result<(), Failure> {
    check_canary(attempt, name, tested.mode, &tested.canary)?;
    attempt.connection.record_proof(attempt.logins, &name.encrypt);
    Ok(())
}

/// How the key decrypts. For the mechanism of the standard, that needs no self-test.
fn decrypt_mode(
    token: &Token,
    name: &TokenKeyName,
    limit: &TimeLimit,
) -> Result<CipherMode, Failure> {
    let mechanism = gcm_mechanism(token);
    if !name.is_gcm() {
        Ok(CipherMode::CbcHmac)
    } else if mechanism == ck::CKM_AES_GCM {
        Ok(CipherMode::Gcm(GcmMode { mechanism, iv: IvMode::Host }))
    } else {
        Ok(self_test(token, name, limit)?.mode)
    }
}

pub(crate) fn gcm_mechanism(token: &Token) -> ck::CK_MECHANISM_TYPE {
    token.0.options.gcm_mechanism.unwrap_or(ck::CKM_AES_GCM)
}

/// The self-test of a key, which runs at its first use in this process.
pub(crate) fn self_test(
    token: &Token,
    name: &TokenKeyName,
    limit: &TimeLimit,
) -> Result<Arc<SelfTest>, Failure> {
    if let Some(tested) = lock(&token.0.self_tests).get(&name.encrypt) {
        return Ok(tested.clone());
    }
    let tested = self_test_again(token, name, limit)?;
    lock(&token.0.self_tests).insert(name.encrypt.clone(), tested.clone());
    Ok(tested)
}

fn self_test_again(
    token: &Token,
    name: &TokenKeyName,
    limit: &TimeLimit,
) -> Result<Arc<SelfTest>, Failure> {
    // Drawn once, so that all attempts encrypt the same messages: SELF_TEST_WRAPS counts them.
    let ivs = [random_iv()?, random_iv()?];
    let run = |attempt: &Attempt<'_>| self_test_modes(token, attempt, name, ivs);
    token.run(LibraryAccess::Shared, limit, run).map(Arc::new)
}

/// Forgets the self-test of a key that is destroyed.
pub(crate) fn forget_self_test(token: &Token, name: &ObjectName) {
    lock(&token.0.self_tests).remove(name);
}

/// Finds the mode in which the key passes its self-test.
pub(crate) fn self_test_modes(
    token: &Token,
    attempt: &Attempt<'_>,
    name: &TokenKeyName,
    ivs: [IvBytes; SELF_TEST_WRAPS],
) -> Result<SelfTest, Failure> {
    if !name.is_gcm() {
        return cipher::self_test(attempt, name, CipherMode::CbcHmac, ivs);
    }
    let mut first = None;
    for iv in IvMode::ALL {
        let mode = CipherMode::Gcm(GcmMode { mechanism: gcm_mechanism(token), iv });
        match cipher::self_test(attempt, name, mode, ivs) {
            Err(failure) if is_of_mode(&failure) => first = first.or(Some(failure)),
            outcome => return outcome,
        }
    }
    Err(first.unwrap_or(Failure::Wrong(WrongResponse::IvIgnored)))
}

/// Whether another IV mode may succeed. A token that ignores every IV fails in all of them.
fn is_of_mode(failure: &Failure) -> bool {
    match failure {
        Failure::Call(call) => {
            let is_missing = call.fault == CallFault::Missing;
            (failure::is_mechanism(call) && !is_missing) || call.fault == CallFault::Length
        }
        Failure::Wrong(WrongResponse::IvIgnored) => true,
        _ => false,
    }
}
