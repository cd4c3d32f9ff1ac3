//! Wrap algorithm 3 (SPEC W-CBC): AES-256-CBC without padding in a token (NIST SP 800-38A), then
//! HMAC-SHA-256 (RFC 2104) in the token under a key of its own, which is verified before anything
//! is decrypted.

use super::wiped::{MAX_KEY_LEN, WipedBuffer};
use crate::crypto::compare;
use crate::crypto::mac::MAC_LEN;
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{CallFailure, Function, Mechanism, Object};
use crate::keyring::pkcs11::token::Attempt;

pub(crate) const IV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;

/// The two keys of a version, as one connection knows them.
#[derive(Clone, Copy)]
pub(crate) struct CbcHmac {
    pub(crate) encrypt: Object,
    pub(crate) mac: Object,
}

impl CbcHmac {
    /// Encrypts `key` to `blob`: IV, ciphertext, MAC. Tells its length.
    pub(crate) fn encrypt(
        &self,
        work: &Attempt<'_>,
        mut iv: [u8; IV_LEN],
        aad: &[u8],
        key: &[u8],
        blob: &mut WipedBuffer,
    ) -> Result<usize, Failure> {
        let mut output = WipedBuffer::new();
        let mechanism = Mechanism::Cbc { iv: &mut iv };
        let len =
            work.inside.encrypt(work.session, mechanism, self.encrypt, key, output.space())?;
        let wrong_length = || CallFailure::length(Function::C_Encrypt);
        let ciphertext = output.get(..len).filter(|_| len == key.len());
        let ciphertext = ciphertext.ok_or_else(wrong_length)?;
        // A token that took another IV than it was given may have said so.
        if iv.iter().all(|byte| *byte == 0) {
            return Err(Failure::Wrong(WrongResponse::IvIgnored));
        }
        let mac = self.mac(work, aad, &iv, ciphertext)?;
        Ok(blob.fill(&[&iv, ciphertext, &mac]))
    }

    /// Verifies and decrypts a blob of [`encrypt`](Self::encrypt), and tells the length of the key.
    pub(crate) fn decrypt(
        &self,
        work: &Attempt<'_>,
        aad: &[u8],
        blob: &[u8],
        key: &mut WipedBuffer,
    ) -> Result<usize, Failure> {
        let parts = blob.split_first_chunk::<IV_LEN>().and_then(|(iv, rest)| {
            let (ciphertext, mac) = rest.split_last_chunk::<MAC_LEN>()?;
            Some((*iv, ciphertext, mac))
        });
        let (mut iv, ciphertext, mac) = parts.ok_or(Failure::Authentication)?;
        let len = ciphertext.len();
        if len == 0 || len > MAX_KEY_LEN || !len.is_multiple_of(BLOCK_LEN) {
            return Err(Failure::Authentication);
        }
        // Not C_Verify: a wrong MAC is a sick device to some tokens.
        let expected = self.mac(work, aad, &iv, ciphertext)?;
        if !compare::equal(&expected, mac) {
            return Err(Failure::Authentication);
        }
        let mechanism = Mechanism::Cbc { iv: &mut iv };
        let found =
            work.inside.decrypt(work.session, mechanism, self.encrypt, ciphertext, key.space())?;
        if found == len { Ok(len) } else { Err(CallFailure::length(Function::C_Decrypt).into()) }
    }

    fn mac(
        &self,
        work: &Attempt<'_>,
        aad: &[u8],
        iv: &[u8; IV_LEN],
        ciphertext: &[u8],
    ) -> Result<[u8; MAC_LEN], Failure> {
        let input = [aad, iv, ciphertext].concat();
        let mut mac = WipedBuffer::new();
        let len = work.inside.sign(work.session, self.mac, &input, mac.space())?;
        let mac = mac.get(..len).and_then(|mac| mac.try_into().ok());
        Ok(mac.ok_or(CallFailure::length(Function::C_Sign))?)
    }
}
