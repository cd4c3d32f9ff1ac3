//! Wrap algorithm 3 (SPEC W-CBC): AES-256-CBC without padding in a token (NIST SP 800-38A), then
//! HMAC-SHA-256 (RFC 2104) in the token under a second key. The MAC is verified before decryption.

use crate::crypto::compare;
use crate::crypto::mac::MAC_LEN;
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{
    CallFailure, CryptOperation, Function, MAX_KEY_LEN, Mechanism, ObjectHandle, Session,
    TokenBuffer,
};

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
    session: Session<'_>,
    keys: CbcHmacKeys,
    mut iv: [u8; IV_LEN],
    aad: &[u8],
    key: &[u8],
) -> Result<TokenBuffer, Failure> {
    let mechanism = Mechanism::Cbc { iv: &mut iv };
    let ciphertext = session
        .crypt(CryptOperation::Encrypt, mechanism, keys.encrypt, key)?
        .exactly(key.len(), Function::C_Encrypt)?;
    // A token may use another IV, and write it back.
    if iv.iter().all(|byte| *byte == 0) {
        return Err(Failure::Wrong(WrongResponse::IvIgnored));
    }
    let mac = mac(session, keys.mac, aad, &iv, ciphertext.bytes())?;
    Ok(TokenBuffer::concat(&[&iv, ciphertext.bytes(), &mac]))
}

/// Verifies and decrypts the output of [`encrypt`].
pub(crate) fn decrypt(
    session: Session<'_>,
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
    let mac = mac(session, keys.mac, aad, &iv, ciphertext)?;
    if !compare::equal(&mac, expected) {
        return Err(Failure::Authentication);
    }
    let mechanism = Mechanism::Cbc { iv: &mut iv };
    let key = session.crypt(CryptOperation::Decrypt, mechanism, keys.encrypt, ciphertext)?;
    Ok(key.exactly(len, Function::C_Decrypt)?)
}

fn mac(
    session: Session<'_>,
    key: ObjectHandle,
    aad: &[u8],
    iv: &[u8; IV_LEN],
    ciphertext: &[u8],
) -> Result<[u8; MAC_LEN], Failure> {
    let input = [aad, iv, ciphertext].concat();
    let mac = session.crypt(CryptOperation::Sign, Mechanism::Hmac, key, &input)?;
    let mac = mac.bytes().try_into().ok();
    Ok(mac.ok_or(CallFailure::length(Function::C_Sign))?)
}
