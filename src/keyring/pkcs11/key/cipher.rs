//! Encryption and decryption under the key of a version, with the checks that each wrap needs.

use super::cbc_hmac::{self, CbcHmacKeys};
use super::gcm;
use super::object::TokenKeyName;
use super::self_test::{CipherMode, SelfTest};
use crate::OsRandom;
use crate::crypto::compare;
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::TokenBuffer;
use crate::keyring::pkcs11::token::Attempt;
use crate::keyring::pkcs11::token::recovery::{Remedy, remedy_of};
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

/// The cipher of a version in one attempt.
pub(crate) struct KeyCipher<'a> {
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) name: &'a TokenKeyName,
    pub(crate) mode: CipherMode,
}

impl KeyCipher<'_> {
    /// Encrypts `key`. Returns the wrapped key.
    pub(crate) fn encrypt(
        &self,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<TokenBuffer, Failure> {
        let session = self.attempt.session;
        match self.mode {
            CipherMode::Gcm(mode) => {
                let [iv @ .., _, _, _, _] = iv;
                gcm::encrypt(session, mode, self.attempt.object(&self.name.encrypt)?, iv, aad, key)
            }
            CipherMode::CbcHmac => cbc_hmac::encrypt(session, self.keys()?, iv, aad, key),
        }
    }

    pub(crate) fn decrypt(&self, aad: &[u8], wrapped: &[u8]) -> Result<TokenBuffer, Failure> {
        let session = self.attempt.session;
        match self.mode {
            CipherMode::Gcm(mode) => {
                gcm::decrypt(session, mode, self.attempt.object(&self.name.encrypt)?, aad, wrapped)
            }
            CipherMode::CbcHmac => cbc_hmac::decrypt(session, self.keys()?, aad, wrapped),
        }
    }

    fn keys(&self) -> Result<CbcHmacKeys, Failure> {
        let mac = self.name.mac.as_ref().ok_or(Failure::KeyMissing)?;
        let encrypt = self.attempt.object(&self.name.encrypt)?;
        Ok(CbcHmacKeys { encrypt, mac: self.attempt.object(mac)? })
    }

    /// Encrypts the canary twice and decrypts it, under the key itself.
    pub(crate) fn self_test(&self, ivs: [IvBytes; SELF_TEST_WRAPS]) -> Result<SelfTest, Failure> {
        let [one, other] = ivs;
        let first = self.encrypt(SELF_TEST, &CANARY, one)?;
        let second = self.encrypt(SELF_TEST, &CANARY, other)?;
        // Not IVs and tags, which differ: the same ciphertext means one key stream for all messages.
        if self.ciphertext(&first, CANARY.len()) == self.ciphertext(&second, CANARY.len()) {
            return Err(Failure::Wrong(WrongResponse::IvIgnored));
        }
        for wrapped in [&first, &second] {
            self.prove(SELF_TEST, &CANARY, wrapped)?;
        }
        match self.decrypt(OTHER_TEST, first.bytes()) {
            Ok(_) => Err(Failure::Wrong(WrongResponse::AadIgnored)),
            // It has to be refused, but not for the lack of a session.
            Err(Failure::Call(call)) if remedy_of(&call) != Remedy::Device => {
                Err(Failure::Call(call))
            }
            Err(_) => Ok(SelfTest { mode: self.mode, canary: first.bytes().to_vec() }),
        }
    }

    /// Decrypts the canary of a self-test.
    pub(crate) fn check_canary(&self, canary: &[u8]) -> Result<(), Failure> {
        self.check_decryption(SELF_TEST, canary, &CANARY)
    }

    /// Decrypts a new wrapped key and compares it with `key`.
    pub(crate) fn prove(
        &self,
        aad: &[u8],
        key: &[u8],
        wrapped: &TokenBuffer,
    ) -> Result<(), Failure> {
        // A token that copies its input passes every round trip.
        if compare::equal(self.ciphertext(wrapped, key.len()), key) {
            return Err(Failure::Wrong(WrongResponse::NotEncrypted));
        }
        self.check_decryption(aad, wrapped.bytes(), key)
    }

    /// Fails unless `wrapped`, which is valid, decrypts to `key`.
    fn check_decryption(&self, aad: &[u8], wrapped: &[u8], key: &[u8]) -> Result<(), Failure> {
        match self.decrypt(aad, wrapped) {
            Ok(found) if compare::equal(found.bytes(), key) => Ok(()),
            Ok(_) | Err(Failure::Authentication) => {
                Err(Failure::Wrong(WrongResponse::DoesNotUnwrap))
            }
            Err(Failure::Ambiguous(call)) => Err(Failure::Call(call)),
            Err(failure) => Err(failure),
        }
    }

    /// The part of a wrapped key between IV and tag, for a key of `len` bytes.
    #[expect(clippy::indexing_slicing, reason = "the length was checked when the key was wrapped")]
    fn ciphertext<'w>(&self, wrapped: &'w TokenBuffer, len: usize) -> &'w [u8] {
        let iv_len = if self.name.mac.is_some() { cbc_hmac::IV_LEN } else { gcm::IV_LEN };
        &wrapped.bytes()[iv_len..][..len]
    }
}
