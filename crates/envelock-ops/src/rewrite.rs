//! A new encryption of one message, for the store that has its body.

use crate::operation::Operation;
use crate::store_error::StoreError;
use envelock::stream::{EncryptWriter, StreamEncryptor};
use envelock::{Aad, Error};
use std::fmt;
use std::io::{Read, Write, copy, sink};

/// The new message of an item: its header is fixed, and its body is made of the old one.
pub struct Rewrite<'a> {
    pub(crate) operation: &'a dyn Operation,
    pub(crate) old: &'a [u8],
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a mut NewBody,
}

/// What the new message is made with.
#[derive(Debug)]
pub(crate) struct NewBody {
    /// `None` once it was used: one stream encrypts one body.
    pub(crate) stream: Option<Box<StreamEncryptor<'static>>>,
    pub(crate) associated_data: Vec<u8>,
}

impl Rewrite<'_> {
    /// Returns the header of the new message.
    pub fn header(&self) -> &[u8] {
        self.header
    }

    /// Returns the associated data of both messages.
    pub fn associated_data(&self) -> Aad<'_> {
        Aad::new(&self.body.associated_data)
    }

    /// Returns the encryptor of the whole new message, for [`envelock::file::reencrypt`] and the like.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was used already: the item is then tried again.
    pub fn stream(&mut self) -> Result<StreamEncryptor<'static>, StoreError> {
        let stream = self.body.stream.take().map(|stream| *stream);
        stream.ok_or_else(|| StoreError::unavailable("the new message was begun before"))
    }

    /// Reads the old body, which is all behind the old header, and writes the new body, which is all behind the new header.
    /// Memory is constant.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the old message does not decrypt, or a reader or a writer fails.
    pub fn encrypt(&mut self, old: &mut dyn Read, new: &mut dyn Write) -> Result<(), StoreError> {
        let mut stream = self.stream()?;
        stream.take_header();
        let key = self.operation.open(self.old).map_err(StoreError::envelope)?;
        let mut plaintext =
            key.decrypt_reader(old, self.associated_data()).map_err(StoreError::envelope)?;
        let mut writer = EncryptWriter::from_stream(new, stream);
        let failed = |error| StoreError::envelope(Error::from(error));
        copy(&mut plaintext, &mut writer).map_err(failed)?;
        writer.finish().map(drop).map_err(StoreError::envelope)
    }

    /// Decrypts the new body as it is stored. To be called before the old one is given up.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it is not what was written.
    pub fn verify(&self, new: &mut dyn Read) -> Result<(), StoreError> {
        let key = self.operation.open(self.header).map_err(StoreError::envelope)?;
        let copied = key.decrypt_copy(new, sink(), self.associated_data());
        copied.map(drop).map_err(StoreError::envelope)
    }
}

impl fmt::Debug for Rewrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").field("header_len", &self.header.len()).finish_non_exhaustive()
    }
}
