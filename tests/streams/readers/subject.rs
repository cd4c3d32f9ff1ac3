//! The input of a decryption: a message, a body whose header is detached, or a body under a raw
//! key.

use super::PREFIX;
use crate::detached::ReadDetached;
use crate::detached::Whole;
use envelock::danger;
use envelock::test_access::errors;
use envelock::{
    Aad, Envelope, Error, MemoryKeyring, OpenedKey, Suite,
    stream::{DecryptReader, MessageStart, RangeDecryptor, RangeReader, ReadAt, StreamDecryptor},
};
use std::io::Read;

/// How bytes are read as a message. The bytes themselves come with each call.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// Header and body.
    Whole(&'a Envelope<&'a MemoryKeyring>, &'a [u8]),
    /// A body; the header is detached.
    Detached(&'a Envelope<&'a MemoryKeyring>, &'a [u8], &'a [u8]),
    /// Header and body, by a key that was opened before.
    Opened(&'a OpenedKey, &'a [u8]),
    /// A body, by a key that was opened before; the header is detached.
    OpenedDetached(&'a OpenedKey, &'a [u8], &'a [u8]),
    /// A body under this key and context.
    Raw(Suite, &'a [u8], &'a [u8]),
}

impl<'a> Subject<'a> {
    pub fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Subject::Whole(envelope, aad) => envelope.decrypt(bytes, Aad::new(aad)),
            Subject::Opened(key, aad) => Whole(key).decrypt(bytes, Aad::new(aad)),
            Subject::Detached(envelope, header, aad) => {
                envelope.decrypt_detached(header, bytes, Aad::new(aad))
            }
            Subject::OpenedDetached(key, header, aad) => {
                key.decrypt_detached(header, bytes, Aad::new(aad))
            }
            Subject::Raw(suite, key, context) => danger::decrypt_body(*suite, key, context, bytes),
        }
    }

    /// Into a buffer of the caller's. A body under a raw key has no such form.
    pub fn decrypt_into(&self, bytes: &[u8], out: &mut [u8]) -> Result<(), Error> {
        match self {
            Subject::Whole(envelope, aad) => envelope.decrypt_into(bytes, Aad::new(aad), out),
            Subject::Opened(key, aad) => Whole(key).decrypt_into(bytes, Aad::new(aad), out),
            Subject::Detached(envelope, header, aad) => {
                envelope.decrypt_detached_into(header, bytes, Aad::new(aad), out)
            }
            Subject::OpenedDetached(key, header, aad) => {
                key.decrypt_detached_into(header, bytes, Aad::new(aad), out)
            }
            Subject::Raw(..) => {
                self.decrypt(bytes).map(|plaintext| out.copy_from_slice(&plaintext))
            }
        }
    }

    pub fn decrypt_in_place<'b>(&self, bytes: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
        match self {
            Subject::Whole(envelope, aad) => envelope.decrypt_in_place(bytes, Aad::new(aad)),
            Subject::Opened(key, aad) => Whole(key).decrypt_in_place(bytes, Aad::new(aad)),
            Subject::Detached(envelope, header, aad) => {
                envelope.decrypt_detached_in_place(header, bytes, Aad::new(aad))
            }
            Subject::OpenedDetached(key, header, aad) => {
                key.decrypt_detached_in_place(header, bytes, Aad::new(aad))
            }
            Subject::Raw(..) => {
                let plaintext = self.decrypt(bytes)?;
                bytes[..plaintext.len()].copy_from_slice(&plaintext);
                Ok(&mut bytes[..plaintext.len()])
            }
        }
    }

    fn start(&self) -> Result<MessageStart, Error> {
        match self {
            Subject::Detached(_, header, _) | Subject::OpenedDetached(_, header, _) => {
                MessageStart::detached(header)
            }
            _ => Ok(MessageStart::new()),
        }
    }

    fn raw_prefix<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8; PREFIX], Error> {
        let (len, needed) = (bytes.len() as u64, 72);
        let part = envelock::format::MessagePart::Body;
        bytes.first_chunk().ok_or(errors::truncated(part, len, needed))
    }

    /// A push decryptor, and how many of the bytes stand before its first chunk. The start is fed
    /// in pieces of `piece` bytes.
    pub fn push(&self, bytes: &[u8], piece: usize) -> Result<(StreamDecryptor, usize), Error> {
        if let Subject::Raw(suite, key, context) = self {
            let prefix = self.raw_prefix(bytes)?;
            let stream = danger::stream_decryptor(*suite, key, prefix, context)?;
            return Ok((stream, PREFIX));
        }
        let mut start = self.start()?;
        let mut taken = 0;
        for piece in bytes.chunks(piece) {
            let len = start.update(piece)?;
            taken += len;
            if len < piece.len() || start.missing() == 0 {
                break;
            }
        }
        let stream = match self {
            Subject::Whole(envelope, aad) | Subject::Detached(envelope, _, aad) => {
                envelock::stream::StreamDecryptor::open(envelope, &start, Aad::new(aad))
            }
            Subject::Opened(key, aad) | Subject::OpenedDetached(key, _, aad) => {
                key.stream_decryptor(&start, Aad::new(aad))
            }
            Subject::Raw(..) => unreachable!(),
        };
        Ok((stream?, taken))
    }

    pub fn reader<R: Read>(&self, mut source: R) -> Result<DecryptReader<R>, Error> {
        match self {
            Subject::Whole(envelope, aad) => envelope.decrypt_reader(source, Aad::new(aad)),
            Subject::Opened(key, aad) => Whole(key).decrypt_reader(source, Aad::new(aad)),
            Subject::Detached(envelope, header, aad) => {
                envelope.decrypt_reader_detached(header, source, Aad::new(aad))
            }
            Subject::OpenedDetached(key, header, aad) => {
                key.decrypt_reader_detached(header, source, Aad::new(aad))
            }
            Subject::Raw(suite, key, context) => {
                let mut prefix = Vec::new();
                source.by_ref().take(PREFIX as u64).read_to_end(&mut prefix)?;
                let prefix = self.raw_prefix(&prefix)?;
                let stream = danger::stream_decryptor(*suite, key, prefix, context)?;
                Ok(DecryptReader::from_stream(source, stream))
            }
        }
    }

    pub fn ranges<S: ReadAt>(&self, source: S) -> Result<RangeReader<S>, Error> {
        match self {
            Subject::Whole(envelope, aad) => envelope.range_reader(source, Aad::new(aad)),
            Subject::Opened(key, aad) => Whole(key).range_reader(source, Aad::new(aad)),
            Subject::Detached(envelope, header, aad) => {
                envelope.range_reader_detached(header, source, Aad::new(aad))
            }
            Subject::OpenedDetached(key, header, aad) => {
                key.range_reader_detached(header, source, Aad::new(aad))
            }
            Subject::Raw(suite, key, context) => {
                let mut prefix = [0; PREFIX];
                let len = source.read_at(&mut prefix, 0)?;
                let prefix = self.raw_prefix(&prefix[..len])?;
                let body_len = source.size()?;
                let message = danger::range_decryptor(*suite, key, prefix, context, body_len)?;
                Ok(RangeReader::from_decryptor(source, message))
            }
        }
    }

    pub fn range_decryptor(&self, bytes: &[u8]) -> Result<RangeDecryptor, Error> {
        let len = bytes.len() as u64;
        let start = |mut start: MessageStart| start.update(bytes).map(|_| start);
        match self {
            Subject::Whole(envelope, aad) | Subject::Detached(envelope, _, aad) => {
                envelock::stream::RangeDecryptor::open(
                    envelope,
                    &start(self.start()?)?,
                    len,
                    Aad::new(aad),
                )
            }
            Subject::Opened(key, aad) | Subject::OpenedDetached(key, _, aad) => {
                key.range_decryptor(&start(self.start()?)?, len, Aad::new(aad))
            }
            Subject::Raw(suite, key, context) => {
                let prefix = self.raw_prefix(bytes)?;
                danger::range_decryptor(*suite, key, prefix, context, len)
            }
        }
    }
}
