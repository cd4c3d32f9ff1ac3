//! Streams cut anywhere: lengths of pieces by fuzzer input, a source that gives so much at a time,
//! and buffers that report what was written to them.

use crate::Input;
use std::io::{self, Read, Seek, SeekFrom};

/// The content of a buffer before a call.
pub const CANARY: u8 = 0xA5;

/// Nothing but what was there before a call, or nothing at all (SPEC B-RELEASE).
pub fn only_canary(out: &[u8]) -> bool {
    let (canaries, zeroes) = ([CANARY; 4096], [0; 4096]);
    // As a whole where it is one or the other: byte by byte is slow under a sanitizer.
    out.chunks(4096).all(|piece| {
        piece == &canaries[..piece.len()]
            || piece == &zeroes[..piece.len()]
            || piece.iter().all(|byte| *byte == CANARY || *byte == 0)
    })
}

/// Lengths of pieces, one after the other; long ones once the input is used up.
#[derive(Clone, Copy)]
pub struct Pieces<'a>(pub Input<'a>);

impl Pieces<'_> {
    /// The next length: none, a few bytes, around a chunk's end, or several chunks.
    pub fn next_len(&mut self) -> usize {
        match usize::from(self.0.byte()) {
            0 => 40_000,
            255 => 400_000,
            few @ 1..100 => few - 1,
            plain @ 100..150 => 16_384 - 25 + (plain - 100),
            encrypted @ 150..200 => 16_400 - 25 + (encrypted - 150),
            many => (many - 199) * 2000,
        }
    }

    /// A length that is not zero.
    pub fn next_some(&mut self) -> usize {
        self.next_len().max(1)
    }
}

/// Bytes that come in such pieces, and signals in between.
pub struct Source<'a> {
    pub bytes: io::Cursor<&'a [u8]>,
    pub pieces: Pieces<'a>,
}

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8], pieces: Pieces<'a>) -> Self {
        Source { bytes: io::Cursor::new(bytes), pieces }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = match self.pieces.next_len() {
            0 => return Err(io::ErrorKind::Interrupted.into()),
            len => len.min(out.len()),
        };
        self.bytes.read(&mut out[..len])
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
