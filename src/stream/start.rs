//! The start of a message, which a reader needs before the first chunk: the header and 56 bytes.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use crate::error::Error;
use crate::format::layout::{self, MIN_BODY_LEN, PREFIX_LEN};
use crate::format::{Header, MIN_HEADER_LEN, MessagePart};
use alloc::vec::Vec;

/// The first bytes of a message, collected piece by piece: its header, and the salt and commitment of its
/// body.
///
/// Allocates for received bytes, never for lengths that a header declares.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring, stream::{MessageStart, StreamDecryptor}};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// let message = envelope.encrypt(b"four score", Aad::none())?;
///
/// let mut start = MessageStart::new();
/// let taken = start.update(&message)?; // or in as many pieces as there are
/// let mut stream = StreamDecryptor::open(&envelope, &start, Aad::none())?;
/// let mut plaintext = [0; 100];
/// let _ = stream.update(&message[taken..], &mut plaintext)?;
/// let len = stream.finish(&mut plaintext)?;
/// assert_eq!(plaintext[..len], *b"four score");
/// assert_eq!(stream.finish(&mut plaintext)?, 0); // now it is known that nothing is missing
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct MessageStart {
    bytes: Vec<u8>,
    /// Length of the header, once it is complete and parses.
    header_len: Option<usize>,
    /// Length that the start must have before it is parsed again.
    needed: usize,
    detached: bool,
    failure: Option<Error>,
}

impl MessageStart {
    /// Returns the start of a message that begins with its header.
    pub fn new() -> Self {
        MessageStart {
            bytes: Vec::new(),
            header_len: None,
            needed: MIN_HEADER_LEN,
            detached: false,
            failure: None,
        }
    }

    /// Returns the start of a body with a detached header.
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header;
    /// [`Error::DetachedHeaderLength`] if bytes follow it.
    pub fn detached(header: &[u8]) -> Result<Self, Error> {
        let header = Header::parse_detached(header)?;
        let needed = header.len() + PREFIX_LEN;
        let bytes = header.as_bytes().to_vec();
        Ok(MessageStart {
            bytes,
            header_len: Some(header.len()),
            needed,
            detached: true,
            failure: None,
        })
    }

    /// Takes the bytes that belong to the start of the message and returns their number. The rest of
    /// `bytes` belongs to the chunks.
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`] or [`Error::Header`] if the bytes are not a header, in every later call too.
    pub fn update(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut taken = 0_usize;
        loop {
            if let Some(error) = &self.failure {
                return Err(error.clone());
            }
            let rest = &bytes[taken..];
            let piece = rest.get(..self.missing()).unwrap_or(rest);
            if piece.is_empty() {
                return Ok(taken);
            }
            self.bytes.extend_from_slice(piece);
            taken += piece.len();
            self.failure = self.look().err();
        }
    }

    /// Returns the number of bytes that are certainly missing: 0 once the start is complete. It can grow
    /// again until the length of the header is known.
    pub fn missing(&self) -> usize {
        self.needed - self.bytes.len()
    }

    /// Returns the length in bytes of the header, once it is known.
    pub fn header_len(&self) -> Option<usize> {
        self.header_len
    }

    /// Returns the header, once it is complete. **Unverified.**
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`] or [`Error::Header`] if the bytes are not a header; [`Error::Truncated`] if a
    /// part is missing.
    pub fn header(&self) -> Result<Header<'_>, Error> {
        Header::parse(&self.bytes)
    }

    /// Returns the offset of the body and its length in a source of `len` bytes, which lacks a detached
    /// header. Fails for a length that no body has, before a call to a backend (SPEC B-LENGTH).
    pub(crate) fn body_place(&self, header: &Header<'_>, len: u64) -> Result<(u64, u64), Error> {
        let offset = if self.detached { 0 } else { header.len() as u64 };
        // Saturates: what ends within the header has no body.
        let body_len = len.saturating_sub(offset);
        layout::plaintext_len(body_len)?;
        Ok((offset, body_len))
    }

    /// Returns salt and commitment.
    pub(crate) fn prefix(&self, header: &Header<'_>) -> Result<&[u8; PREFIX_LEN], Error> {
        let there = &self.bytes[header.len()..];
        let len = there.len() as u64;
        there.first_chunk().ok_or(Error::Truncated {
            part: MessagePart::Body,
            len,
            needed: MIN_BODY_LEN,
        })
    }

    /// Parses the header once there are enough bytes for it.
    fn look(&mut self) -> Result<(), Error> {
        if self.header_len.is_some() || self.missing() > 0 {
            return Ok(());
        }
        match Header::parse(&self.bytes) {
            Ok(header) => {
                let len = header.len();
                self.header_len = Some(len);
                self.needed = len + PREFIX_LEN;
                Ok(())
            }
            Err(Error::Truncated { needed, .. }) => {
                self.needed = usize::try_from(needed).map_err(|_| Error::MessageTooLong)?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Default for MessageStart {
    fn default() -> Self {
        MessageStart::new()
    }
}
