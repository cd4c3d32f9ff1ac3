//! Completing a cut header to a valid one: the proof that nothing in it offends (SPEC H-FIRST).

use crate::model::{FIXED_LEN, Model};

/// The least slot: one byte of name, one of wrapped key.
const LEAST_SLOT: usize = 18;

/// An algorithm whose wrapped key may have any length.
const FREE_ALGORITHM: u8 = 200;

/// A valid header with `prefix` at its start, found by giving every missing field its easiest
/// value. A field that the prefix cuts within is chosen again, names excepted.
pub fn complete(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = Fields { prefix, out: Vec::new() };
    out.field(4, b"\xE5NVL");
    out.field(1, &[1]);
    out.field(1, &[1]);
    out.field(16, &[0; 16]);
    out.field(2, &(FIXED_LEN as u16 + LEAST_SLOT as u16).to_be_bytes());
    out.field(1, &[1]);
    let len = usize::from(u16::from_be_bytes([out.out[22], out.out[23]]));
    let count = usize::from(out.out[24]);
    let key_len = if out.out[5] == 2 { 16 } else { 32 };
    let mut names = Vec::new();
    for index in 0..count {
        let room = len.checked_sub((count - index - 1) * LEAST_SLOT)?.checked_sub(out.out.len())?;
        let start = out.out.len();
        out.field(4, &(index as u32 + 1).to_be_bytes());
        out.field(8, &[0; 8]);
        out.field(1, &[FREE_ALGORITHM]);
        let least = match out.out[start + 12] {
            1 => key_len + 40,
            2 => key_len + 28,
            3 => key_len + 48,
            _ => 1,
        };
        out.field(1, &[1]);
        let name_len = usize::from(out.out[start + 13]);
        out.field(2, &(least as u16).to_be_bytes());
        let wrapped_len =
            usize::from(u16::from_be_bytes([out.out[start + 14], out.out[start + 15]]));
        if 16 + name_len + wrapped_len > room {
            return None;
        }
        out.name(name_len, start, &names);
        names.push(out.out[start..start + 12].iter().chain(out.last(name_len)).copied().collect());
        out.field(wrapped_len, &vec![0xEE; wrapped_len]);
    }
    out.padding(len);
    Model::read(&out.out).is_some().then_some(out.out)
}

struct Fields<'a> {
    prefix: &'a [u8],
    out: Vec<u8>,
}

impl Fields<'_> {
    /// The prefix's field, or where it is not whole, `missing`.
    fn field(&mut self, len: usize, missing: &[u8]) {
        let at = self.out.len();
        let there = self.prefix.get(at..at + len).filter(|field| field.len() == len);
        self.out.extend_from_slice(there.unwrap_or(missing));
    }

    /// A name that starts like the prefix's and makes the slot unlike every earlier one.
    fn name(&mut self, len: usize, slot: usize, earlier: &[Vec<u8>]) {
        let at = self.out.len();
        let there = self.prefix.get(at..).unwrap_or_default();
        let there = there.get(..len).unwrap_or(there);
        let key: Vec<u8> = self.out[slot..slot + 12].to_vec();
        for filler in b'A'..=b'Z' {
            let mut name = there.to_vec();
            name.resize(len, filler);
            if !earlier.contains(&[&key[..], &name].concat()) || there.len() == len {
                self.out.extend_from_slice(&name);
                return;
            }
        }
        self.out.resize(at + len, b'-');
    }

    /// The prefix's padding, then zeroes.
    fn padding(&mut self, end: usize) {
        let there = self.prefix.get(self.out.len()..).unwrap_or_default();
        let there = there.get(..end.saturating_sub(self.out.len())).unwrap_or(there);
        self.out.extend_from_slice(there);
        self.out.resize(end, 0);
    }

    fn last(&self, len: usize) -> &[u8] {
        &self.out[self.out.len() - len..]
    }
}
