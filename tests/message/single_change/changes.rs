//! The changes of the sweep, one at a time.

use crate::common::shapes::Shape;
use std::fmt;
use std::ops::Range;

/// A changed message, and where its header ends if the two are detached.
pub struct Change {
    pub bytes: Vec<u8>,
    pub header_end: usize,
    pub what: What,
}

pub enum What {
    Flip { byte: usize, bit: usize },
    Overwrite { byte: usize, value: u8 },
    Cut { len: usize },
    Insert { at: usize, value: u8 },
    Delete { at: usize },
    Swap { fields: [String; 2] },
    Transplant { field: String, from: String },
    Bound { field: String, value: Vec<u8> },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Flip { byte, bit } => write!(f, "bit {bit} of byte {byte} flipped"),
            What::Overwrite { byte, value } => write!(f, "byte {byte} set to {value:#04x}"),
            What::Cut { len } => write!(f, "cut to {len} bytes"),
            What::Insert { at, value } => write!(f, "{value:#04x} inserted at {at}"),
            What::Delete { at } => write!(f, "byte {at} removed"),
            What::Swap { fields: [a, b] } => write!(f, "{a} swapped with {b}"),
            What::Transplant { field, from } => {
                write!(f, "{field} replaced by {from} of another message")
            }
            What::Bound { field, value } => write!(f, "{field} set to {value:02x?}"),
        }
    }
}

/// Calls `visit` with every change to `shape`. `donor` is another message of the same shape.
pub fn each(shape: &Shape, donor: &Shape, visit: &mut dyn FnMut(Change)) {
    bytes(shape, visit);
    insertions_and_deletions(shape, visit);
    cuts(shape, visit);
    swaps(shape, visit);
    transplants(shape, donor, visit);
    bounds(shape, visit);
}

/// Whether byte `at` of a message is among those of which every bit is changed: all of a small
/// message; of a big one the header, salt, commitment, and both ends of each chunk with its tag.
fn is_dense(shape: &Shape, at: usize) -> bool {
    let chunks = shape.header_len() + 56;
    if !shape.is_big() || at < chunks {
        return true;
    }
    let start = (at - chunks) / 16_400 * 16_400 + chunks;
    let end = (start + 16_400).min(shape.message.len());
    at < start + 64 || at + 64 + 16 >= end
}

/// The dense bytes, and every 211th of the others.
fn swept(shape: &Shape) -> impl Iterator<Item = usize> + '_ {
    (0..shape.message.len()).filter(|at| is_dense(shape, *at) || at % 211 == 0)
}

fn bytes(shape: &Shape, visit: &mut dyn FnMut(Change)) {
    let header_end = shape.header_len();
    for at in swept(shape) {
        let with = |value: u8, what: What| {
            let mut bytes = shape.message.clone();
            bytes[at] = value;
            Change { bytes, header_end, what }
        };
        let old = shape.message[at];
        for bit in 0..8 {
            visit(with(old ^ (1 << bit), What::Flip { byte: at, bit }));
        }
        // Where a chunk is tried each time, two values more say nothing new.
        if shape.is_big() && at >= header_end {
            continue;
        }
        for value in [0, 0xFF, old.wrapping_add(1), old.wrapping_sub(1)] {
            visit(with(value, What::Overwrite { byte: at, value }));
        }
    }
}

fn insertions_and_deletions(shape: &Shape, visit: &mut dyn FnMut(Change)) {
    let header_len = shape.header_len();
    for at in swept(shape) {
        let old = shape.message[at];
        for value in [0, 0xFF, old] {
            let mut bytes = shape.message.clone();
            bytes.insert(at, value);
            let header_end = header_len + usize::from(at < header_len);
            visit(Change { bytes, header_end, what: What::Insert { at, value } });
        }
        let mut bytes = shape.message.clone();
        bytes.remove(at);
        let header_end = header_len - usize::from(at < header_len);
        visit(Change { bytes, header_end, what: What::Delete { at } });
    }
    for value in [0, 0xFF] {
        let at = shape.message.len();
        let bytes = [&shape.message[..], &[value]].concat();
        visit(Change { bytes, header_end: header_len, what: What::Insert { at, value } });
    }
}

fn cuts(shape: &Shape, visit: &mut dyn FnMut(Change)) {
    for len in swept(shape) {
        let header_end = shape.header_len().min(len);
        let bytes = shape.message[..len].to_vec();
        visit(Change { bytes, header_end, what: What::Cut { len } });
    }
}

/// The message with `value` instead of `range`, and where its header then ends.
fn replaced(shape: &Shape, range: &Range<usize>, value: &[u8]) -> (Vec<u8>, usize) {
    let (before, after) = (&shape.message[..range.start], &shape.message[range.end..]);
    ([before, value, after].concat(), shape.header_len() + value.len() - range.len())
}

fn swaps(shape: &Shape, visit: &mut dyn FnMut(Change)) {
    let fields = shape.header.fields();
    for (index, (a, a_range)) in fields.iter().enumerate() {
        for (b, b_range) in &fields[index + 1..] {
            let message = &shape.message;
            let bytes = [
                &message[..a_range.start],
                &message[b_range.clone()],
                &message[a_range.end..b_range.start],
                &message[a_range.clone()],
                &message[b_range.end..],
            ]
            .concat();
            let what = What::Swap { fields: [a.clone(), b.clone()] };
            visit(Change { bytes, header_end: shape.header_len(), what });
        }
    }
}

fn transplants(shape: &Shape, donor: &Shape, visit: &mut dyn FnMut(Change)) {
    for (field, range) in shape.header.fields() {
        for (from, donor_range) in donor.header.fields() {
            // Fields of one kind, and whatever has the same length.
            if donor_range.len() != range.len() {
                continue;
            }
            let (bytes, header_end) = replaced(shape, &range, &donor.message[donor_range]);
            let what = What::Transplant { field: field.clone(), from };
            visit(Change { bytes, header_end, what });
        }
    }
}

fn bounds(shape: &Shape, visit: &mut dyn FnMut(Change)) {
    for (field, range) in shape.header.fields() {
        let len = range.len();
        if len == 0 {
            continue;
        }
        let one = [&vec![0; len - 1][..], &[1]].concat();
        let half = [&[0x80][..], &vec![0; len - 1]].concat();
        let below_half = [&[0x7F][..], &vec![0xFF; len - 1]].concat();
        for value in [vec![0; len], one, half, below_half, vec![0xFF; len]] {
            let (bytes, header_end) = replaced(shape, &range, &value);
            let what = What::Bound { field: field.clone(), value };
            visit(Change { bytes, header_end, what });
        }
    }
}
