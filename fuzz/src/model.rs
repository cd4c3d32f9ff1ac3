//! A header codec of its own, written from the format's tables without the crate's code. The crate
//! must accept the same headers and write the same bytes.

use envelock::Header;

/// Bytes 0..22.
pub const CORE_LEN: usize = 22;

/// Bytes before the first slot.
pub const FIXED_LEN: usize = 25;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub core: [u8; CORE_LEN],
    pub slots: Vec<ModelSlot>,
    pub padding: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSlot {
    pub version: u32,
    pub id: [u8; 8],
    pub algorithm: u8,
    pub name: Vec<u8>,
    pub wrapped: Vec<u8>,
}

impl ModelSlot {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_be_bytes());
        out.extend(self.id);
        out.push(self.algorithm);
        out.push(self.name.len() as u8);
        out.extend((self.wrapped.len() as u16).to_be_bytes());
        out.extend(&self.name);
        out.extend(&self.wrapped);
    }

    fn len(&self) -> usize {
        16 + self.name.len() + self.wrapped.len()
    }

    /// Whether both are under the same master key (SPEC H-DUPLICATE).
    pub fn same_key(&self, other: &ModelSlot) -> bool {
        self.name == other.name && self.version == other.version && self.id == other.id
    }
}

impl Model {
    /// The crate's result, in terms of the model.
    pub fn of(header: &Header<'_>) -> Model {
        let mut core = [0; CORE_LEN];
        core[..4].copy_from_slice(b"\xE5NVL");
        core[4] = 1;
        core[5] = header.suite().id();
        core[6..].copy_from_slice(&header.data_key_id().0);
        let slots = header.slots().map(|slot| ModelSlot {
            version: slot.label.version.number(),
            id: slot.label.master_key_id.0,
            algorithm: slot.label.algorithm.id(),
            name: slot.label.name.as_str().into(),
            wrapped: slot.wrapped_key.into(),
        });
        Model { core, slots: slots.collect(), padding: header.padding_len() }
    }

    pub fn len(&self) -> usize {
        FIXED_LEN + self.slots.iter().map(ModelSlot::len).sum::<usize>() + self.padding
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// The header's bytes, valid or not; the length field is cut to 16 bits.
    pub fn write(&self) -> Vec<u8> {
        let mut out = self.core.to_vec();
        out.extend((self.len() as u16).to_be_bytes());
        out.push(self.slots.len() as u8);
        for slot in &self.slots {
            slot.write(&mut out);
        }
        out.resize(out.len() + self.padding, 0);
        out
    }

    /// The header at the start of `input`, if there is a valid one.
    pub fn read(input: &[u8]) -> Option<Model> {
        let fixed = input.get(..FIXED_LEN)?;
        let core: [u8; CORE_LEN] = fixed[..CORE_LEN].try_into().ok()?;
        let len = usize::from(u16::from_be_bytes([fixed[22], fixed[23]]));
        let count = usize::from(fixed[24]);
        if &core[..4] != b"\xE5NVL" || core[4] != 1 || !(1..=4).contains(&core[5]) {
            return None;
        }
        let key_len = if core[5] == 2 { 16 } else { 32 };
        let mut rest = input.get(FIXED_LEN..len)?;
        let mut slots: Vec<ModelSlot> = Vec::new();
        for _ in 0..count {
            let (slot, after) = read_slot(rest, key_len)?;
            if slots.iter().any(|other| other.same_key(&slot)) {
                return None;
            }
            slots.push(slot);
            rest = after;
        }
        // By pieces: a comparison of each byte would be an event of its own to the fuzzer.
        let zero = |piece: &[u8]| *piece == [0; 256][..piece.len()];
        let valid = (1..=16).contains(&count) && rest.chunks(256).all(zero);
        valid.then_some(Model { core, slots, padding: rest.len() })
    }
}

fn read_slot(input: &[u8], key_len: usize) -> Option<(ModelSlot, &[u8])> {
    let fixed = input.get(..16)?;
    let name_len = usize::from(fixed[13]);
    let wrapped_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let name = input.get(16..16 + name_len)?;
    let wrapped = input.get(16 + name_len..16 + name_len + wrapped_len)?;
    let slot = ModelSlot {
        version: u32::from_be_bytes(fixed[..4].try_into().ok()?),
        id: fixed[4..12].try_into().ok()?,
        algorithm: fixed[12],
        name: name.into(),
        wrapped: wrapped.into(),
    };
    let wrapped_ok = match slot.algorithm {
        0 => false,
        1 => wrapped_len == key_len + 40,
        2 => wrapped_len == key_len + 28,
        3 => wrapped_len == key_len + 48,
        _ => (1..=32_768).contains(&wrapped_len),
    };
    let valid = slot.version != 0 && wrapped_ok && is_name(name);
    valid.then_some((slot, &input[16 + name_len + wrapped_len..]))
}

fn is_name(name: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/@+=-".contains(byte);
    name.first().is_some_and(u8::is_ascii_alphanumeric) && name.iter().all(inner)
}

/// Length of the plaintext of a body of this length, if there is such a body.
pub fn plaintext_len(body_len: usize) -> Option<usize> {
    let chunks = body_len.checked_sub(56)?;
    let last = (chunks % 16_400).checked_sub(16)?;
    Some(chunks / 16_400 * 16_384 + last)
}
