//! Exact lengths of buffers.

use super::Envelope;
use crate::error::Error;
use crate::format::layout;
use crate::format::{Header, MAX_HEADER_LEN, offset, slot_len};
use crate::keyring::Keyring;

impl<K: Keyring, R> Envelope<K, R> {
    /// Returns the length in bytes of the header of a message that is encrypted now: 25, each slot, and
    /// the reserved room. A rotation to another kind of key can change it.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`], [`Error::Backend`]; [`Error::HeaderRoom`] beyond 65,535.
    pub fn header_len(&self) -> Result<usize, Error> {
        // Saturates: beyond 65,535 it is refused in any case.
        let mut len = offset::SLOTS.saturating_add(self.reserved);
        let primary = self.keyring.visit_primaries(&mut |primary| {
            let wrapped_len = primary.wrapped_key_len(self.suite);
            // Saturates: as above.
            len = len.saturating_add(slot_len(primary.label.name, wrapped_len));
        });
        primary.map_err(Error::from_wrap)?;
        if len > MAX_HEADER_LEN {
            return Err(Error::HeaderRoom { needed: len, available: MAX_HEADER_LEN });
        }
        Ok(len)
    }

    /// Returns the same error with the room that all slots need, since a keyring stops at the first slot
    /// that does not fit.
    pub(super) fn with_room_for_all(&self, error: Error) -> Error {
        match error {
            Error::HeaderRoom { needed, available } => {
                let all = self.header_len().map_or(needed, |len| len - self.reserved);
                Error::HeaderRoom { needed: needed.max(all), available }
            }
            other => other,
        }
    }

    /// Returns the length in bytes of the message for a plaintext of this length that is encrypted now.
    /// For lengths above `usize` see [`Header::message_len`].
    ///
    /// # Errors
    ///
    /// Those of [`header_len`](Self::header_len); [`Error::MessageTooLong`].
    pub fn message_len(&self, plaintext_len: usize) -> Result<usize, Error> {
        let body_len = body_len(plaintext_len)?;
        self.header_len()?.checked_add(body_len).ok_or(Error::MessageTooLong)
    }
}

/// Returns the length in bytes of the body of a plaintext of this length: 56 more, and 16 for each chunk.
///
/// # Errors
///
/// [`Error::MessageTooLong`].
pub fn body_len(plaintext_len: usize) -> Result<usize, Error> {
    let len = layout::body_len(plaintext_len as u64)?;
    usize::try_from(len).map_err(|_| Error::MessageTooLong)
}

/// Returns the length in bytes of the plaintext of a message, from the lengths of header and message.
/// Unverified until it is decrypted.
///
/// # Errors
///
/// [`Error::NotEnvelock`] or [`Error::Header`] if the bytes are not a message; [`Error::Truncated`] if they
/// end within the header, or if no body has the length of the rest.
pub fn plaintext_len(message: &[u8]) -> Result<usize, Error> {
    let header_len = Header::parse(message)?.len();
    plaintext_len_of_body(message.len() - header_len)
}

/// Returns the length in bytes of the plaintext of a body of this length.
pub(super) fn plaintext_len_of_body(body_len: usize) -> Result<usize, Error> {
    let len = layout::plaintext_len(body_len as u64)?;
    usize::try_from(len).map_err(|_| Error::MessageTooLong)
}
