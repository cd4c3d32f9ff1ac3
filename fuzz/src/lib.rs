//! What the fuzz targets share: a second header codec, valid messages, changes to them, and a
//! counting allocator, and streams that are cut anywhere.

pub mod allocator;
pub mod change;
pub mod complete;
pub mod fixture;
pub mod key_file;
pub mod model;
pub mod pieces;

/// Fuzzer input read piece by piece; zeroes once it is used up.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = if bound > 256 { usize::from(self.word()) } else { usize::from(self.byte()) };
        wide % bound
    }

    /// A position in something of `len` bytes: near the start, or counted from the end.
    pub fn position(&mut self, len: usize) -> usize {
        let from_end = self.byte() & 1 == 1;
        let distance = usize::from(self.word()).min(len.saturating_sub(1));
        if from_end { len.saturating_sub(1).saturating_sub(distance) } else { distance }
    }

    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
