//! A second reader and writer of the header, straight from the byte tables of the specification.
//!
//! Where the crate checks each length against the room that is left, this one keeps the length
//! of the shortest valid header that starts with the bytes read so far: an offset offends when
//! that outgrows the declared length (SPEC H-FIRST).

use envelock::format::HeaderFault;
use std::ops::Range;

/// The fault at the start of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    NotEnvelock,
    Truncated { len: u64, needed: u64 },
    Fault { offset: usize, fault: HeaderFault },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefSlot {
    pub version: u32,
    pub master_key_id: [u8; 8],
    pub algorithm: u8,
    pub name: Vec<u8>,
    pub wrapped: Vec<u8>,
}

impl RefSlot {
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.master_key_id);
        bytes.push(self.algorithm);
        bytes.push(self.name.len() as u8);
        bytes.extend_from_slice(&(self.wrapped.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.wrapped);
        bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefHeader {
    pub core: [u8; 22],
    pub slots: Vec<RefSlot>,
    pub padding: usize,
}

impl RefHeader {
    pub fn len(&self) -> usize {
        25 + self.slots.iter().map(|slot| slot.encode().len()).sum::<usize>() + self.padding
    }

    /// The bytes, with the lengths and the count that follow from the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.core.to_vec();
        bytes.extend_from_slice(&(self.len() as u16).to_be_bytes());
        bytes.push(self.slots.len() as u8);
        self.slots.iter().for_each(|slot| bytes.extend_from_slice(&slot.encode()));
        bytes.resize(self.len(), 0);
        bytes
    }

    /// The offset of each field.
    pub fn fields(&self) -> Vec<(String, Range<usize>)> {
        let mut fields = Vec::new();
        let mut at = 0;
        let mut put = |name: String, len: usize| {
            fields.push((name, at..at + len));
            at += len;
        };
        let fixed =
            [("magic", 4), ("format", 1), ("suite", 1), ("random", 8), ("check", 8), ("length", 2)];
        fixed.into_iter().for_each(|(name, len)| put(name.into(), len));
        put("count".into(), 1);
        for (index, slot) in self.slots.iter().enumerate() {
            let fixed = [("version", 4), ("id", 8), ("algorithm", 1), ("name length", 1)];
            fixed.into_iter().for_each(|(name, len)| put(format!("{name} {index}"), len));
            put(format!("wrapped length {index}"), 2);
            put(format!("name {index}"), slot.name.len());
            put(format!("wrapped {index}"), slot.wrapped.len());
        }
        put("padding".into(), self.padding);
        fields
    }
}

/// Bytes that algorithms 1 to 3 make of a data key of `suite` (SPEC H-WRAPLEN).
pub fn exact_wrapped_len(suite: u8, algorithm: u8) -> Option<usize> {
    let data_key_len = if suite == 2 { 16 } else { 32 };
    match algorithm {
        1 => Some(data_key_len + 40),
        2 => Some(data_key_len + 28),
        3 => Some(data_key_len + 48),
        _ => None,
    }
}

/// Whether a name may have `byte` at `index` (SPEC H-NAME).
pub fn name_byte_allowed(index: usize, byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9')
        || index > 0 && matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'+' | b'=' | b'-')
}

struct Reader<'a> {
    input: &'a [u8],
    declared: Option<usize>,
    /// Length of the shortest valid header that starts with what was read.
    shortest: usize,
}

impl Reader<'_> {
    fn field(&self, at: usize, len: usize) -> Result<&[u8], Refused> {
        self.input.get(at..at + len).ok_or(Refused::Truncated {
            len: self.input.len() as u64,
            needed: self.declared.unwrap_or(43) as u64,
        })
    }

    fn number(&self, at: usize, len: usize) -> Result<usize, Refused> {
        Ok(self.field(at, len)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Lets the shortest header grow by `more`, or says that it no longer fits.
    fn grow(&mut self, more: usize) -> bool {
        self.shortest += more;
        self.declared.is_some_and(|declared| self.shortest <= declared)
    }

    fn slot(&mut self, at: usize, suite: u8, earlier: &[RefSlot]) -> Result<RefSlot, Refused> {
        let version = self.number(at, 4)? as u32;
        demand(version != 0, at, HeaderFault::ZeroVersion)?;
        let master_key_id = self.field(at + 4, 8)?.try_into().unwrap();
        let algorithm = self.number(at + 12, 1)? as u8;
        demand(algorithm != 0, at + 12, HeaderFault::ZeroAlgorithm)?;
        let exact = exact_wrapped_len(suite, algorithm);
        let least = exact.unwrap_or(1);
        demand(self.grow(least - 1), at + 12, HeaderFault::AlgorithmRoom(algorithm))?;
        let name_len = self.number(at + 13, 1)?;
        let name_len_fault = HeaderFault::KeyNameLength(name_len as u8);
        demand(name_len > 0 && self.grow(name_len - 1), at + 13, name_len_fault)?;
        let wrapped_len = self.number(at + 14, 2)?;
        let in_range = wrapped_len >= least
            && wrapped_len <= 32_768
            && exact.is_none_or(|exact| exact == wrapped_len)
            && self.grow(wrapped_len - least);
        demand(in_range, at + 14, HeaderFault::WrappedKeyLength(wrapped_len as u16))?;
        let mut name = Vec::new();
        for index in 0..name_len {
            let byte = self.number(at + 16 + index, 1)? as u8;
            let bad_byte = HeaderFault::KeyNameByte(byte);
            demand(name_byte_allowed(index, byte), at + 16 + index, bad_byte)?;
            name.push(byte);
        }
        let repeats = |slot: &RefSlot| {
            (slot.version, slot.master_key_id, &slot.name) == (version, master_key_id, &name)
        };
        demand(!earlier.iter().any(repeats), at + 16, HeaderFault::DuplicateSlot)?;
        let wrapped = self.field(at + 16 + name_len, wrapped_len)?.to_vec();
        Ok(RefSlot { version, master_key_id, algorithm, name, wrapped })
    }
}

fn demand(holds: bool, offset: usize, fault: HeaderFault) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::Fault { offset, fault }) }
}

/// Reads the header at the start of `input`.
pub fn parse(input: &[u8]) -> Result<RefHeader, Refused> {
    let mut reader = Reader { input, declared: None, shortest: 0 };
    let magic = [0xE5, 0x4E, 0x56, 0x4C];
    if input.is_empty() || input.iter().zip(magic).any(|(byte, magic)| *byte != magic) {
        return Err(Refused::NotEnvelock);
    }
    reader.field(0, 4)?;
    let format = reader.number(4, 1)? as u8;
    demand(format == 1, 4, HeaderFault::UnknownFormat(format))?;
    let suite = reader.number(5, 1)? as u8;
    demand((1..=4).contains(&suite), 5, HeaderFault::UnknownSuite(suite))?;
    reader.field(6, 16)?;
    let declared = reader.number(22, 2)?;
    demand(declared >= 43, 22, HeaderFault::HeaderLength(declared as u16))?;
    reader.declared = Some(declared);
    let count = reader.number(24, 1)?;
    let fits = reader.grow(25 + count * 18);
    demand((1..=16).contains(&count) && fits, 24, HeaderFault::SlotCount(count as u8))?;
    let mut slots = Vec::new();
    let mut at = 25;
    for _ in 0..count {
        let slot = reader.slot(at, suite, &slots)?;
        at += 16 + slot.name.len() + slot.wrapped.len();
        slots.push(slot);
    }
    for offset in at..declared {
        demand(reader.number(offset, 1)? == 0, offset, HeaderFault::Padding)?;
    }
    Ok(RefHeader { core: input[..22].try_into().unwrap(), slots, padding: declared - at })
}
