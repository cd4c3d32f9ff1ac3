//! Decryption: the first slot that opens, then the body.

use super::Envelope;
use super::length::plaintext_len_of_body;
use super::opened::TRUNCATED;
use crate::aad::Aad;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, Slot, SlotLabel};
use crate::keyring::{Keyring, KeyringError, WrapContext, unwrap_verified};
use alloc::vec::Vec;

impl<K: Keyring, R> Envelope<K, R> {
    /// Decrypts a message to a new buffer.
    ///
    /// # Errors
    ///
    /// - [`Error::NotEnvelock`], [`Error::Header`], [`Error::Truncated`],
    ///   [`Error::MessageTooLong`]: the bytes are not a message.
    /// - [`Error::Backend`], [`Error::Refused`], [`Error::NoKey`]: no slot opened.
    /// - [`Error::Authentication`]: wrong key, wrong associated data, or changed bytes, and which
    ///   part of the message did not verify.
    pub fn decrypt(&self, message: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        let (header, body) = split(message)?;
        self.with_opened(&header, |key| key.decrypt(body, aad))
    }

    /// Decrypts a message into `plaintext`, which has exactly
    /// [`plaintext_len`](crate::plaintext_len) bytes. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt), and [`Error::BufferLength`]. `plaintext` is then unchanged or
    /// zeroed, and never has unverified bytes.
    pub fn decrypt_into(
        &self,
        message: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        let (header, body) = split(message)?;
        check_room(body, plaintext)?;
        self.with_opened(&header, |key| key.decrypt_into(body, aad, plaintext))
    }

    /// Decrypts a message in place and returns the plaintext, which begins 56 bytes after the
    /// header. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt). If a chunk does not verify, the body is wiped, since chunks
    /// before it were decrypted already. On every other error the message is unchanged.
    pub fn decrypt_in_place<'m>(
        &self,
        message: &'m mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'m mut [u8], Error> {
        let header_len = split(message)?.0.len();
        let (header, body) = message.split_at_mut_checked(header_len).ok_or(TRUNCATED)?;
        self.with_opened(&Header::parse_detached(header)?, |key| key.decrypt_in_place(body, aad))
    }

    /// Unwraps the first slot that opens (SPEC O-ORDER), and returns it.
    pub(super) fn unwrap_first<'h>(
        &self,
        header: &Header<'h>,
        data_key: &mut DataKey,
    ) -> Result<Slot<'h>, Error> {
        let context = WrapContext::new(header.core());
        let mut failures = SlotFailures::default();
        for slot in header.slots() {
            match unwrap_verified(&self.keyring, &slot, &context, data_key) {
                // SPEC O-FINAL: no other slot is tried, whether the body verifies or not.
                Ok(()) => return Ok(slot),
                Err(error) => failures.add(&slot, error),
            }
        }
        Err(failures.into_error(header))
    }
}

/// The header of a message, and its body. A body that is truncated costs no call to a backend.
pub(super) fn split(message: &[u8]) -> Result<(Header<'_>, &[u8]), Error> {
    let header = Header::parse(message)?;
    let body = message.get(header.len()..).ok_or(TRUNCATED)?;
    plaintext_len_of_body(body.len())?;
    Ok((header, body))
}

/// Checks that `plaintext` has the length of the plaintext of `body`.
pub(super) fn check_room(body: &[u8], plaintext: &[u8]) -> Result<(), Error> {
    let (len, needed) = (plaintext.len(), plaintext_len_of_body(body.len())?);
    if len == needed { Ok(()) } else { Err(Error::BufferLength { len, needed }) }
}

/// The failure with the highest precedence so far, and of several such the first. Allocates nothing before
/// it is an error.
#[derive(Default)]
pub(super) struct SlotFailures<'h>(Option<(SlotLabel<'h>, KeyringError)>);

impl<'h> SlotFailures<'h> {
    pub(super) fn add(&mut self, slot: &Slot<'h>, error: KeyringError) {
        if self.0.as_ref().is_none_or(|(_, known)| error.rank() > known.rank()) {
            self.0 = Some((slot.label, error));
        }
    }

    /// Adds the failure of one slot.
    pub(super) fn of(slot: &Slot<'h>, error: KeyringError) -> Self {
        SlotFailures(Some((slot.label, error)))
    }

    /// Returns the error by SPEC O-PRECEDENCE.
    pub(super) fn into_error(self, header: &Header<'_>) -> Error {
        // Every header has a slot, and every slot was tried.
        let Some((SlotLabel { name, version, .. }, error)) = self.0 else {
            return Error::WRAPPED_KEY;
        };
        let key = || name.as_str().into();
        match error {
            KeyringError::Refused(refusal) => Error::Refused { key: key(), version, refusal },
            KeyringError::NotMine => {
                Error::NoKey { key: key(), version, slots: header.slots().len() }
            }
            error => Error::from_wrap(error),
        }
    }
}
