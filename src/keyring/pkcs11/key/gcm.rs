//! Wrap algorithm 2 (SPEC W-GCM): AES-256-GCM in a token (NIST SP 800-38D), by C_Encrypt and
//! C_Decrypt.

use super::self_test::{GcmMode, IvMode};
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{
    CryptOperation, Function, GcmIv, MAX_KEY_LEN, Mechanism, ObjectHandle, Session, TokenBuffer,
};

pub(crate) const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Encrypts `key`. Returns IV, ciphertext and tag.
pub(crate) fn encrypt(
    session: Session<'_>,
    mode: GcmMode,
    object: ObjectHandle,
    mut iv: [u8; IV_LEN],
    aad: &[u8],
    key: &[u8],
) -> Result<TokenBuffer, Failure> {
    let parameter = match mode.iv {
        IvMode::Host | IvMode::Appended => GcmIv::Given(&mut iv),
        IvMode::WrittenBack => {
            iv = [0; IV_LEN];
            GcmIv::Given(&mut iv)
        }
        IvMode::Prepended => GcmIv::Absent,
    };
    let mechanism = Mechanism::Gcm { number: mode.mechanism, iv: parameter, aad };
    let sealed_len = key.len() + TAG_LEN;
    let iv_in_output = matches!(mode.iv, IvMode::Appended | IvMode::Prepended);
    let len = sealed_len + if iv_in_output { IV_LEN } else { 0 };
    let output = session.crypt(CryptOperation::Encrypt, mechanism, object, key)?;
    let output = output.exactly(len, Function::C_Encrypt)?;
    let output = output.bytes();
    let (iv, sealed) = match mode.iv {
        // A token may use another IV, and write it back.
        IvMode::Host | IvMode::WrittenBack => (iv.as_slice(), output),
        IvMode::Appended => {
            let (sealed, iv) = output.split_at(sealed_len);
            (iv, sealed)
        }
        IvMode::Prepended => output.split_at(IV_LEN),
    };
    if iv.iter().all(|byte| *byte == 0) {
        return Err(Failure::Wrong(WrongResponse::IvIgnored));
    }
    Ok(TokenBuffer::concat(&[iv, sealed]))
}

/// Decrypts the output of [`encrypt`].
pub(crate) fn decrypt(
    session: Session<'_>,
    mode: GcmMode,
    object: ObjectHandle,
    aad: &[u8],
    wrapped: &[u8],
) -> Result<TokenBuffer, Failure> {
    let (iv, sealed) = wrapped.split_first_chunk().ok_or(Failure::Authentication)?;
    let len = sealed.len().checked_sub(TAG_LEN).filter(|len| *len <= MAX_KEY_LEN);
    let (mut iv, len): ([u8; IV_LEN], _) = (*iv, len.ok_or(Failure::Authentication)?);
    let (iv, sealed) = match mode.iv {
        IvMode::Prepended => (GcmIv::Absent, wrapped),
        IvMode::Host | IvMode::WrittenBack | IvMode::Appended => (GcmIv::Given(&mut iv), sealed),
    };
    let mechanism = Mechanism::Gcm { number: mode.mechanism, iv, aad };
    let key = session
        .crypt(CryptOperation::Decrypt, mechanism, object, sealed)
        .map_err(failure::of_decryption)?;
    Ok(key.exactly(len, Function::C_Decrypt)?)
}
