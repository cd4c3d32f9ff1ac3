//! Messages whose header is detached, and opened keys over whole messages: what the library
//! composes of two steps, in one call each.

use envelock::stream::{DecryptReader, MessageStart, RangeReader, ReadAt};
use envelock::test_access::errors;
use envelock::{Aad, Envelope, Error, GrantOptions, Keyring, OpenedKey, RandomSource};
use envelock::{RewrapOptions, RewrapReport, body_len, inspect};
use std::io::{self, Read};

type Split = (Vec<u8>, Vec<u8>);

/// The header and the body that an envelope writes.
pub trait WriteDetached {
    fn encrypt_detached(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Split, Error>;

    fn encrypt_detached_into(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Error>;

    fn encrypt_detached_in_place(
        &self,
        header: &mut [u8],
        body: &mut [u8],
        plaintext_len: usize,
        aad: Aad<'_>,
    ) -> Result<(), Error>;

    fn rewrap_in_place(
        &self,
        message: &mut [u8],
        options: RewrapOptions<'_>,
    ) -> Result<RewrapReport, Error>;

    fn add_slot_in_place<T: Keyring + ?Sized>(
        &self,
        message: &mut [u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<bool, Error>;

    fn remove_name_in_place(&self, message: &mut [u8], name: &str) -> Result<(), Error>;
}

impl<K: Keyring, R: RandomSource> WriteDetached for Envelope<K, R> {
    fn encrypt_detached(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Split, Error> {
        let message = self.start(plaintext.len(), aad)?;
        let header = message.header().to_vec();
        Ok((header, message.encrypt(plaintext)?))
    }

    fn encrypt_detached_into(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Error> {
        check_len(body, body_len(plaintext.len())?)?;
        if !self.header_len().is_ok_and(|len| len == header.len()) {
            return in_room(header, body, |message, start| {
                let range = start..start + plaintext.len();
                message[range.clone()].copy_from_slice(plaintext);
                self.encrypt_in_place(message, range, aad)
            });
        }
        let message = self.start(plaintext.len(), aad)?;
        header.copy_from_slice(message.header());
        message.encrypt_into(plaintext, body)
    }

    fn encrypt_detached_in_place(
        &self,
        header: &mut [u8],
        body: &mut [u8],
        plaintext_len: usize,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        check_len(body, body_len(plaintext_len)?)?;
        if !self.header_len().is_ok_and(|len| len == header.len()) {
            return in_room(header, body, |message, start| {
                self.encrypt_in_place(message, start..start + plaintext_len, aad)
            });
        }
        let message = self.start(plaintext_len, aad)?;
        header.copy_from_slice(message.header());
        message.encrypt_in_place(body)
    }

    fn rewrap_in_place(
        &self,
        message: &mut [u8],
        options: RewrapOptions<'_>,
    ) -> Result<RewrapReport, Error> {
        let rewrapped = self.rewrap(message, options)?;
        rewrapped.write_over(message)?;
        Ok(rewrapped.report().clone())
    }

    fn add_slot_in_place<T: Keyring + ?Sized>(
        &self,
        message: &mut [u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<bool, Error> {
        let update = self.add_slot(message, to, options)?;
        update.write_over(message).map(|()| update.is_changed())
    }

    fn remove_name_in_place(&self, message: &mut [u8], name: &str) -> Result<(), Error> {
        self.remove_name(message, name)?.write_over(message)
    }
}

fn check_len(buffer: &[u8], needed: usize) -> Result<(), Error> {
    let len = buffer.len();
    if len == needed { Ok(()) } else { Err(errors::buffer_length(len, needed)) }
}

/// Encrypts a message whose header has the room of `header`, whatever the slots need. `encrypt` gets
/// the message and where its plaintext starts.
fn in_room(
    header: &mut [u8],
    body: &mut [u8],
    encrypt: impl FnOnce(&mut [u8], usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let before = body.to_vec();
    let mut message = [&*header, &*body].concat();
    let encrypted = encrypt(&mut message, header.len() + 56);
    header.copy_from_slice(&message[..header.len()]);
    let made = &message[header.len()..];
    body.copy_from_slice(if encrypted.is_ok() { made } else { &before });
    encrypted
}

/// A reader of a detached header and its body.
pub trait ReadDetached: Sized {
    /// Calls `read` with the key of the message.
    fn by_key<T>(
        &self,
        header: &[u8],
        body: &[u8],
        read: impl FnOnce(&OpenedKey) -> Result<T, Error>,
    ) -> Result<T, Error>;

    fn decrypt_detached(&self, header: &[u8], body: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        self.by_key(header, body, |key| key.decrypt(body, aad))
    }

    fn decrypt_detached_into(
        &self,
        header: &[u8],
        body: &[u8],
        aad: Aad<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        self.by_key(header, body, |key| key.decrypt_into(body, aad, out))
    }

    fn decrypt_detached_in_place<'b>(
        &self,
        header: &[u8],
        body: &'b mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'b mut [u8], Error> {
        let copy = body.to_vec();
        self.by_key(header, &copy, |key| key.decrypt_in_place(body, aad))
    }

    fn decrypt_reader_detached<S: Read>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        self.by_key(header, &[0; 72], |key| key.decrypt_reader(source, aad))
    }

    fn range_reader_detached<S: ReadAt>(
        &self,
        header: &[u8],
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        self.by_key(header, &[0; 72], |key| key.range_reader(source, aad))
    }
}

impl<K: Keyring, R> ReadDetached for Envelope<K, R> {
    fn by_key<T>(
        &self,
        header: &[u8],
        body: &[u8],
        read: impl FnOnce(&OpenedKey) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let parsed = inspect(header)?;
        let (declared, len) = (parsed.len(), header.len());
        if declared != len {
            return Err(errors::detached_header_length(declared, len));
        }
        parsed.plaintext_len((len + body.len()) as u64)?;
        read(&self.open(header)?)
    }
}

impl ReadDetached for OpenedKey {
    fn by_key<T>(
        &self,
        header: &[u8],
        body: &[u8],
        read: impl FnOnce(&OpenedKey) -> Result<T, Error>,
    ) -> Result<T, Error> {
        MessageStart::detached(header)?;
        self.body(&[header, body].concat())?;
        read(self)
    }
}

/// An opened key that reads whole messages.
#[derive(Clone, Copy)]
pub struct Whole<'k>(pub &'k OpenedKey);

impl Whole<'_> {
    pub fn decrypt(&self, message: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        self.0.decrypt(self.0.body(message)?, aad)
    }

    pub fn decrypt_into(&self, message: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<(), Error> {
        self.0.decrypt_into(self.0.body(message)?, aad, out)
    }

    pub fn decrypt_in_place<'m>(
        &self,
        message: &'m mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'m mut [u8], Error> {
        self.0.decrypt_in_place(self.0.body_mut(message)?, aad)
    }

    pub fn decrypt_reader<S: Read>(
        &self,
        mut source: S,
        aad: Aad<'_>,
    ) -> Result<DecryptReader<S>, Error> {
        let mut start = MessageStart::new();
        while start.missing() > 0 {
            let mut piece = vec![0; start.missing()];
            let len = loop {
                match source.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            if len == 0 {
                break;
            }
            start.update(&piece[..len])?;
        }
        Ok(DecryptReader::from_stream(source, self.0.stream_decryptor(&start, aad)?))
    }

    pub fn range_reader<S: ReadAt>(
        &self,
        source: S,
        aad: Aad<'_>,
    ) -> Result<RangeReader<S>, Error> {
        let (len, mut offset) = (source.size()?, 0);
        let mut start = MessageStart::new();
        while start.missing() > 0 {
            let mut piece = vec![0; start.missing()];
            let read = source.read_at(&mut piece, offset)?;
            if read == 0 {
                break;
            }
            start.update(&piece[..read])?;
            offset += read as u64;
        }
        Ok(RangeReader::from_decryptor(source, self.0.range_decryptor(&start, len, aad)?))
    }
}

impl ReadDetached for Whole<'_> {
    fn by_key<T>(
        &self,
        header: &[u8],
        body: &[u8],
        read: impl FnOnce(&OpenedKey) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.0.by_key(header, body, read)
    }
}
