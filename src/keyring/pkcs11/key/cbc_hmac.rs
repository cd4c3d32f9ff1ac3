//! Wrap algorithm 3 (SPEC W-CBC): AES-256-CBC without padding in a token (NIST SP 800-38A), then
//! HMAC-SHA-256 (RFC 2104) in the token under a second key. The MAC is verified before decryption.

use super::wiped::{MAX_KEY_LEN, TokenBuffer};
use crate::crypto::compare;
use crate::crypto::mac::MAC_LEN;
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{CallFailure, Function, Mechanism, ObjectHandle};
use crate::keyring::pkcs11::token::Attempt;

pub(crate) const IV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;

/// The two keys of a version.
#[derive(Clone, Copy)]
pub(crate) struct CbcHmacKeys {
    pub(crate) encrypt: ObjectHandle,
    pub(crate) mac: ObjectHandle,
}

/// Encrypts `key`. Returns IV, ciphertext and MAC.
pub(crate) fn encrypt(
    attempt: &Attempt<'_>,
    keys: CbcHmacKeys,
    mut iv: [u8; IV_LEN],
    aad: &[u8],
    key: &[u8],
) -> Result<TokenBuffer, Failure> {
    let mechanism = Mechanism::Cbc { iv: &mut iv };
    let (calls, session) = (attempt.library.calls, attempt.session);
    let ciphertext =
        TokenBuffer::written(|room| calls.encrypt(session, mechanism, keys.encrypt, key, room))?;
    let ciphertext = ciphertext.bytes();
    if ciphertext.len() != key.len() {
        return Err(CallFailure::length(Function::C_Encrypt).into());
    }
    // A token may use another IV, and write it back.
    if iv.iter().all(|byte| *byte == 0) {
        return Err(Failure::Wrong(WrongResponse::IvIgnored));
    }
    let mac = mac(attempt, keys.mac, aad, &iv, ciphertext)?;
    Ok(TokenBuffer::concat(&[&iv, ciphertext, &mac]))
}

/// Verifies and decrypts the output of [`encrypt`].
pub(crate) fn decrypt(
    attempt: &Attempt<'_>,
    keys: CbcHmacKeys,
    aad: &[u8],
    wrapped: &[u8],
) -> Result<TokenBuffer, Failure> {
    let parts = wrapped.split_first_chunk::<IV_LEN>().and_then(|(iv, rest)| {
        let (ciphertext, mac) = rest.split_last_chunk::<MAC_LEN>()?;
        Some((*iv, ciphertext, mac))
    });
    let (mut iv, ciphertext, expected) = parts.ok_or(Failure::Authentication)?;
    let len = ciphertext.len();
    if len == 0 || len > MAX_KEY_LEN || !len.is_multiple_of(BLOCK_LEN) {
        return Err(Failure::Authentication);
    }
    // Not C_Verify: some tokens report a wrong MAC as a faulty device.
    let mac = mac(attempt, keys.mac, aad, &iv, ciphertext)?;
    if !compare::equal(&mac, expected) {
        return Err(Failure::Authentication);
    }
    let mechanism = Mechanism::Cbc { iv: &mut iv };
    let (calls, session) = (attempt.library.calls, attempt.session);
    let key = TokenBuffer::written(|room| {
        calls.decrypt(session, mechanism, keys.encrypt, ciphertext, room)
    })?;
    if key.bytes().len() == len {
        Ok(key)
    } else {
        Err(CallFailure::length(Function::C_Decrypt).into())
    }
}

fn mac(
    attempt: &Attempt<'_>,
    key: ObjectHandle,
    aad: &[u8],
    iv: &[u8; IV_LEN],
    ciphertext: &[u8],
) -> Result<[u8; MAC_LEN], Failure> {
    let input = [aad, iv, ciphertext].concat();
    let (calls, session) = (attempt.library.calls, attempt.session);
    let mac = TokenBuffer::written(|room| calls.sign(session, key, &input, room))?;
    let mac = mac.bytes().try_into().ok();
    Ok(mac.ok_or(CallFailure::length(Function::C_Sign))?)
}
