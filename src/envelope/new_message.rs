//! A new message with a detached header.

use super::encrypt::check_len;
use super::length::body_len;
use super::scratch::Scratch;
use crate::body::{self, ChunkEncryptor};
use crate::error::Error;
use crate::threads::Threads;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// A header, and the key of the one body that belongs to it; created by
/// [`Envelope::start`](crate::Envelope::start).
///
/// Header and body together are the message of [`Envelope::encrypt`](crate::Envelope::encrypt). Copy the
/// [`header`](Self::header) first, because encrypting the body consumes the value: a salt is used once.
/// [`Envelope::open`](crate::Envelope::open) opens the header, and its [`OpenedKey`](crate::OpenedKey)
/// decrypts the body. For a body of unknown length see
/// [`StreamEncryptor::take_header`](crate::stream::StreamEncryptor::take_header).
///
/// Allocates nothing for headers of up to 1 KiB, except where a method returns a `Vec`. It belongs to
/// the process that created it: in a child of `fork` it fails with [`Error::Forked`].
#[must_use = "a header without its body is no message"]
pub struct NewMessage {
    pub(super) header: Scratch,
    pub(super) encryptor: ChunkEncryptor,
    pub(super) plaintext_len: usize,
    pub(super) threads: Option<Arc<Threads>>,
}

impl NewMessage {
    /// Returns the header, which no later step changes.
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// Encrypts the plaintext and returns the body.
    ///
    /// # Errors
    ///
    /// [`Error::BufferLength`] if the plaintext has another length than was announced;
    /// [`Error::Forked`].
    pub fn encrypt(self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut body = vec![0; body_len(self.plaintext_len)?];
        self.encrypt_into(plaintext, &mut body)?;
        Ok(body)
    }

    /// Encrypts the plaintext into `body`, which has exactly [`body_len`](crate::body_len) bytes.
    ///
    /// # Errors
    ///
    /// [`Error::BufferLength`] if the plaintext has another length than was announced, or the body
    /// another than it needs; [`Error::Forked`].
    pub fn encrypt_into(self, plaintext: &[u8], body: &mut [u8]) -> Result<(), Error> {
        self.encryptor.check_process()?;
        check_len(plaintext, self.plaintext_len)?;
        body::encrypt_body(&self.encryptor, plaintext, body, self.threads.as_deref())
    }

    /// Encrypts in place. `body` has exactly [`body_len`](crate::body_len) bytes, with the plaintext from
    /// byte 56 on.
    ///
    /// # Errors
    ///
    /// [`Error::BufferLength`] and [`Error::Forked`]. The plaintext is then unchanged.
    pub fn encrypt_in_place(self, body: &mut [u8]) -> Result<(), Error> {
        self.encryptor.check_process()?;
        check_len(body, body_len(self.plaintext_len)?)?;
        body::in_place::encrypt(&self.encryptor, body, self.threads.as_deref())
    }

    /// Encrypts the body behind the header.
    pub(super) fn into_message(self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let header = self.header();
        let header_len = header.len();
        let body_len = body_len(self.plaintext_len)?;
        let len = header_len.checked_add(body_len).ok_or(Error::MessageTooLong)?;
        let mut message = vec![0; len];
        let (start, body) = message.split_at_mut(header_len);
        start.copy_from_slice(header);
        self.encrypt_into(plaintext, body)?;
        Ok(message)
    }
}

impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("header_len", &self.header().len())
            .field("plaintext_len", &self.plaintext_len)
            .finish_non_exhaustive()
    }
}
