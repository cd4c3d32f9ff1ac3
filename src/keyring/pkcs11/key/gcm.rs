//! Wrap algorithm 2 (SPEC W-GCM): AES-256-GCM in a token (NIST SP 800-38D), by C_Encrypt and
//! C_Decrypt.

use super::wiped::{MAX_KEY_LEN, WipedBuffer};
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{CallFailure, Function, GcmIv, Mechanism, Object, ck};
use crate::keyring::pkcs11::token::Attempt;

pub(crate) const IV_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;

/// How a token has AES-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcm {
    pub(crate) number: ck::CK_MECHANISM_TYPE,
    pub(crate) iv: IvMode,
}

/// Who makes the initialisation vector, and where it is told. What is stored is always the one
/// that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IvMode {
    /// We do.
    Host,
    /// The token does, and writes it to where it found zeros (AWS CloudHSM).
    WrittenBack,
    /// The token does, and puts it behind the tag (Thales Luna in FIPS mode).
    Appended,
    /// The token does, and puts it before the ciphertext, where it wants it for a decryption as well
    /// (`CKM_CLOUDHSM_AES_GCM`).
    Prepended,
}

impl IvMode {
    pub(crate) const ALL: [IvMode; 4] =
        [IvMode::Host, IvMode::WrittenBack, IvMode::Appended, IvMode::Prepended];
}

impl IvMode {
    /// In words, for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            IvMode::Host => "made here, taken by the token",
            IvMode::WrittenBack => "made by the token, written back to where zeros were",
            IvMode::Appended => "made by the token, behind its output",
            IvMode::Prepended => "made by the token, before its output",
        }
    }
}

impl Gcm {
    /// Encrypts `key` to `blob`: IV, ciphertext, tag. Tells its length.
    pub(crate) fn encrypt(
        &self,
        work: &Attempt<'_>,
        object: Object,
        mut iv: [u8; IV_LEN],
        aad: &[u8],
        key: &[u8],
        blob: &mut WipedBuffer,
    ) -> Result<usize, Failure> {
        let mut output = WipedBuffer::new();
        let given = match self.iv {
            IvMode::Host | IvMode::Appended => GcmIv::Given(&mut iv),
            IvMode::WrittenBack => {
                iv = [0; IV_LEN];
                GcmIv::Given(&mut iv)
            }
            IvMode::Prepended => GcmIv::Absent,
        };
        let mechanism = Mechanism::Gcm { number: self.number, iv: given, aad };
        let len = work.inside.encrypt(work.session, mechanism, object, key, output.space())?;
        let sealed_len = key.len().saturating_add(TAG_LEN);
        let told_len = match self.iv {
            IvMode::Host | IvMode::WrittenBack => 0,
            IvMode::Appended | IvMode::Prepended => IV_LEN,
        };
        let wrong_length = || CallFailure::length(Function::C_Encrypt);
        let output = output.get(..len).ok_or_else(wrong_length)?;
        if len != sealed_len.saturating_add(told_len) {
            return Err(wrong_length().into());
        }
        let (iv, sealed) = match self.iv {
            // A token may have taken another one than it was given, and have said so.
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
        Ok(blob.fill(&[iv, sealed]))
    }

    /// Decrypts a blob of [`encrypt`](Self::encrypt), and tells the length of the key.
    pub(crate) fn decrypt(
        &self,
        work: &Attempt<'_>,
        object: Object,
        aad: &[u8],
        blob: &[u8],
        key: &mut WipedBuffer,
    ) -> Result<usize, Failure> {
        let (iv, sealed) = blob.split_first_chunk().ok_or(Failure::Authentication)?;
        let len = sealed.len().checked_sub(TAG_LEN).filter(|len| *len <= MAX_KEY_LEN);
        let len = len.ok_or(Failure::Authentication)?;
        let mut iv: [u8; IV_LEN] = *iv;
        let (iv, sealed) = match self.iv {
            // Which is how the blob has it.
            IvMode::Prepended => (GcmIv::Absent, blob),
            IvMode::Host | IvMode::WrittenBack | IvMode::Appended => {
                (GcmIv::Given(&mut iv), sealed)
            }
        };
        let mechanism = Mechanism::Gcm { number: self.number, iv, aad };
        let decrypted = work.inside.decrypt(work.session, mechanism, object, sealed, key.space());
        match decrypted.map_err(failure::of_decryption)? {
            found if found == len => Ok(len),
            _ => Err(CallFailure::length(Function::C_Decrypt).into()),
        }
    }
}
