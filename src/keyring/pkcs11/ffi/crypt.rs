//! Encryption, decryption and MACs, each in one call after its initialisation. There is no query for
//! the length of the output, since some tokens return wrong lengths.

#![allow(unsafe_code)]

use super::buffer::TokenBuffer;
use super::calls::{ObjectHandle, Session};
use super::failure::{CallFailure, Function, Result};
use super::library::call;
use super::template::ulong;
use core::{mem, ptr};
use cryptoki_sys as ck;

/// The IV of AES-GCM.
pub(crate) enum GcmIv<'a> {
    /// The caller's. The token may use another one, and write it here.
    Given(&'a mut [u8; 12]),
    /// The token generates it, and returns it in the output.
    Absent,
}

/// A mechanism with its parameter.
pub(crate) enum Mechanism<'a> {
    /// AES-GCM, `CKM_AES_GCM` or a vendor's number for it, with a tag of 128 bits.
    Gcm { number: ck::CK_MECHANISM_TYPE, iv: GcmIv<'a>, aad: &'a [u8] },
    /// AES-CBC without padding. The token may write to the IV.
    Cbc { iv: &'a mut [u8; 16] },
    /// HMAC-SHA-256.
    Hmac,
}

impl Mechanism<'_> {
    /// The layout of PKCS#11. It points to `gcm` and to what the mechanism borrows.
    fn raw(self, gcm: &mut ck::CK_GCM_PARAMS) -> ck::CK_MECHANISM {
        let (mechanism, parameter, len) = match self {
            Mechanism::Gcm { number, iv, aad } => {
                let (iv, len) = match iv {
                    GcmIv::Given(iv) => (iv.as_mut_ptr(), iv.len()),
                    GcmIv::Absent => (ptr::null_mut(), 0),
                };
                let aad_pointer = if aad.is_empty() { ptr::null() } else { aad.as_ptr() };
                *gcm = ck::CK_GCM_PARAMS {
                    pIv: iv,
                    ulIvLen: ulong(len),
                    // Not zero: NSS and Luna refuse that.
                    ulIvBits: ulong(len * 8),
                    pAAD: aad_pointer.cast_mut(),
                    ulAADLen: ulong(aad.len()),
                    ulTagBits: 128,
                };
                (number, ptr::from_mut(gcm).cast(), mem::size_of::<ck::CK_GCM_PARAMS>())
            }
            Mechanism::Cbc { iv } => (ck::CKM_AES_CBC, iv.as_mut_ptr().cast(), iv.len()),
            Mechanism::Hmac => (ck::CKM_SHA256_HMAC, ptr::null_mut(), 0),
        };
        ck::CK_MECHANISM { mechanism, pParameter: parameter, ulParameterLen: ulong(len) }
    }
}

/// An operation with a key.
#[derive(Clone, Copy)]
pub(crate) enum CryptOperation {
    Encrypt,
    Decrypt,
    Sign,
}

impl Session<'_> {
    /// Runs `operation` on `input`. Returns its output.
    pub(crate) fn crypt(
        self,
        operation: CryptOperation,
        mechanism: Mechanism<'_>,
        key: ObjectHandle,
        input: &[u8],
    ) -> Result<TokenBuffer> {
        // Some libraries keep the pointers of the initialisation until the operation, so the
        // parameter has to outlive both.
        let mut gcm = ck::CK_GCM_PARAMS::default();
        let mut mechanism = mechanism.raw(&mut gcm);
        let (session, mechanism, key) = (self.handle.0, &raw mut mechanism, key.0);
        let (from, from_len) = (input.as_ptr().cast_mut(), ulong(input.len()));
        let mut output = TokenBuffer::new();
        let (to, mut len) = (output.room.as_mut_ptr(), ulong(output.room.len()));
        // Arguments of all six: a mechanism whose parameter outlives the operation, an input that is
        // only read, and an output of `len` bytes.
        let function = match operation {
            CryptOperation::Encrypt => {
                call!(self.functions, C_EncryptInit(session, mechanism, key))?;
                call!(self.functions, C_Encrypt(session, from, from_len, to, &raw mut len))?;
                Function::C_Encrypt
            }
            CryptOperation::Decrypt => {
                call!(self.functions, C_DecryptInit(session, mechanism, key))?;
                call!(self.functions, C_Decrypt(session, from, from_len, to, &raw mut len))?;
                Function::C_Decrypt
            }
            CryptOperation::Sign => {
                call!(self.functions, C_SignInit(session, mechanism, key))?;
                call!(self.functions, C_Sign(session, from, from_len, to, &raw mut len))?;
                Function::C_Sign
            }
        };
        let len = usize::try_from(len).ok().filter(|len| *len <= output.room.len());
        output.len = len.ok_or(CallFailure::length(function))?;
        Ok(output)
    }
}
