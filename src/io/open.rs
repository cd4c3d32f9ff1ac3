//! The first bytes of a source, which a reader is opened with, and copies of whole streams.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::batch::{CHUNKS, FIRST_LEN};
use super::{DecryptReader, RangeReader, ReadAt, error::uninterrupted};
use crate::error::Error;
use crate::format::MessagePart;
use crate::format::layout::{CHUNK_LEN, MIN_BODY_LEN, PREFIX_LEN};
use crate::stream::{MessageStart, RangeDecryptor, StreamDecryptor};
use crate::wiped::WipedBuffer;
use alloc::vec;
use alloc::vec::Vec;
use std::io::{self, Read, Write};

/// Bytes of plaintext that a copy moves at a time.
const COPY_LEN: usize = CHUNKS * CHUNK_LEN;

/// Writes the output of `read` up to its end and returns its length.
pub(crate) fn copy(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    sink: &mut impl Write,
) -> io::Result<u64> {
    let mut buffer = WipedBuffer::zeros(COPY_LEN);
    let mut copied = 0_u64;
    loop {
        let len = uninterrupted(|| read(&mut buffer))?;
        let piece = buffer.get(..len).ok_or(io::ErrorKind::InvalidData)?;
        if piece.is_empty() {
            return Ok(copied);
        }
        sink.write_all(piece)?;
        // Saturates: a count.
        copied = copied.saturating_add(len as u64);
    }
}

/// Writes all plaintext to `sink`, flushes it, and returns the length.
pub(crate) fn copy_plaintext<S: Read, W: Write>(
    mut reader: DecryptReader<S>,
    mut sink: W,
) -> Result<u64, Error> {
    let copied = copy(|piece| reader.read(piece), &mut sink)?;
    uninterrupted(|| sink.flush())?;
    Ok(copied)
}

/// Reads the start of a message, and some bytes behind it.
pub(crate) struct StartReader {
    start: MessageStart,
    buffer: Vec<u8>,
    /// Bytes in the buffer, and how many of them belong to the start.
    len: usize,
    taken: usize,
}

impl StartReader {
    pub(crate) fn new() -> Self {
        StartReader { start: MessageStart::new(), buffer: vec![0; FIRST_LEN], len: 0, taken: 0 }
    }

    /// Reads until the start is complete or the source ends. After `WouldBlock`, call it again.
    pub(crate) fn read(&mut self, source: &mut impl Read) -> Result<(), Error> {
        while self.taken == self.len && self.start.missing() > 0 {
            let len = uninterrupted(|| source.read(&mut self.buffer))?.min(FIRST_LEN);
            if len == 0 {
                break;
            }
            (self.len, self.taken) = (len, self.start.update(&self.buffer[..len])?);
        }
        Ok(())
    }

    pub(crate) fn start(&self) -> &MessageStart {
        &self.start
    }

    /// The bytes that were read behind the start.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer[self.taken..self.len]
    }
}

/// Reads the start of a message and opens a reader of the chunks behind it.
pub(crate) fn open_reader<S: Read>(
    mut source: S,
    open: impl FnOnce(&MessageStart) -> Result<StreamDecryptor, Error>,
) -> Result<DecryptReader<S>, Error> {
    let mut reader = StartReader::new();
    reader.read(&mut source)?;
    let stream = open(reader.start())?;
    Ok(DecryptReader::new(source, stream, reader.ahead()))
}

/// Reads the start of a message and opens a reader of its ranges; `open` gets the length of the source.
pub(crate) fn open_range_reader<S: ReadAt>(
    source: S,
    open: impl FnOnce(&MessageStart, u64) -> Result<RangeDecryptor, Error>,
) -> Result<RangeReader<S>, Error> {
    let len = source.size()?;
    let mut start = MessageStart::new();
    let mut buffer = vec![0; FIRST_LEN];
    let mut offset = 0_u64;
    while start.missing() > 0 {
        let wanted = start.missing().min(FIRST_LEN);
        let room = &mut buffer[..wanted];
        let read = uninterrupted(|| source.read_at(room, offset))?.min(wanted);
        if read == 0 {
            break;
        }
        start.update(&room[..read])?;
        // Saturates: no source has bytes there.
        offset = offset.saturating_add(read as u64);
    }
    Ok(RangeReader::from_decryptor(source, open(&start, len)?))
}

/// Salt and commitment of a body that is read.
pub(crate) struct PrefixReader {
    prefix: [u8; PREFIX_LEN],
    filled: usize,
}

impl PrefixReader {
    pub(crate) fn new() -> Self {
        PrefixReader { prefix: [0; PREFIX_LEN], filled: 0 }
    }

    /// Reads by `read`, which gets the offset of the next byte. After `WouldBlock`, call it again.
    pub(crate) fn read(
        &mut self,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> Result<[u8; PREFIX_LEN], Error> {
        while self.filled < PREFIX_LEN {
            let (room, offset) = (&mut self.prefix[self.filled..], self.filled as u64);
            let len = uninterrupted(|| read(room, offset))?.min(room.len());
            if len == 0 {
                let (part, needed) = (MessagePart::Body, MIN_BODY_LEN);
                return Err(Error::Truncated { part, len: offset, needed });
            }
            self.filled += len;
        }
        Ok(self.prefix)
    }
}
