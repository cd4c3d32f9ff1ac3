//! Parsing of a header: canonical (SPEC H-CANON), without allocation (SPEC H-BOUND), with the
//! lowest offending offset as the error.
//!
//! An offset offends if no valid header has the same bytes up to and including the field that
//! starts there (SPEC H-FIRST). Each length is therefore checked against the room that the minimum
//! of all later fields leaves, and the first error found has the lowest offset.

#![expect(
    clippy::indexing_slicing,
    reason = "the position of the reader never exceeds the length of its input"
)]

use super::layout;
use super::{
    DataKeyId, FORMAT_VERSION, HeaderFault, ImmutableCore, InvalidKeyName, KeyName, KeyVersion,
    LooksLike, MAGIC, MAX_SLOTS, MAX_WRAPPED_KEY_LEN, MIN_HEADER_LEN, MIN_SLOT_LEN, MasterKeyId,
    MessagePart, SLOT_FIXED_LEN, Slot, SlotLabel, Suite, WrapAlgorithm, offset,
};
use crate::error::Error;
use core::fmt;

/// A parsed header. **Unverified**: a writer of the message can change every field. A decryption
/// verifies it.
#[doc(alias = "parse")]
#[doc(alias = "peek")]
#[derive(Clone, Copy)]
pub struct Header<'a> {
    bytes: &'a [u8],
    core: ImmutableCore,
    slot_count: u8,
    slots_end: usize,
}

impl<'a> Header<'a> {
    /// Parses the header at the start of `input`. Bytes after the header are ignored.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader { input, position: 0, header_len: None };
        let core = reader.read_core()?;
        let header_len = reader.read_header_len()?;
        let slot_count = reader.read_slot_count(header_len)?;
        for read in 0..slot_count {
            let following = usize::from(slot_count) - usize::from(read) - 1;
            let end = header_len - (following * MIN_SLOT_LEN);
            let earlier = &input[offset::SLOTS..reader.position];
            reader.read_slot(end, core.suite(), Slots::new(earlier, read))?;
        }
        let slots_end = reader.position;
        reader.read_padding(header_len)?;
        let bytes = &input[..header_len];
        Ok(Header { bytes, core, slot_count, slots_end })
    }

    /// Parses a header that is stored apart from its body: no byte may follow it.
    pub(crate) fn parse_detached(input: &'a [u8]) -> Result<Self, Error> {
        let header = Header::parse(input)?;
        if header.len() == input.len() {
            Ok(header)
        } else {
            // SPEC H-DETACHED
            Err(Error::DetachedHeaderLength { declared: header.len(), len: input.len() })
        }
    }

    /// Returns the bytes of the header, padding included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the length of the header in bytes, padding included: the offset of the body.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the length of the padding in bytes: room for a later, larger slot.
    pub fn padding_len(&self) -> usize {
        self.len() - self.slots_end
    }

    /// Returns the suite of the body.
    pub fn suite(&self) -> Suite {
        self.core.suite()
    }

    /// Returns the data key id, which a rewrap does not change.
    pub fn data_key_id(&self) -> DataKeyId {
        self.core.data_key_id()
    }

    /// Returns the slots, 1 to 16, in order.
    #[inline]
    pub fn slots(&self) -> Slots<'a> {
        let bytes = &self.bytes[offset::SLOTS..self.slots_end];
        Slots::new(bytes, self.slot_count)
    }

    /// Returns the length in bytes of the plaintext of a message of `total` bytes, this header included. It
    /// needs neither the body nor a key, and is unverified until the message is decrypted.
    ///
    /// For a detached header, `total` is the length of the body plus that of the header.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if no message with this header has that length;
    /// [`Error::MessageTooLong`].
    pub fn plaintext_len(&self, total: u64) -> Result<u64, Error> {
        // Saturates: what ends within the header has no body.
        layout::plaintext_len(total.saturating_sub(self.len() as u64))
    }

    /// Returns the length in bytes of the message with this header and a plaintext of this length.
    ///
    /// # Errors
    ///
    /// [`Error::MessageTooLong`].
    pub fn message_len(&self, plaintext_len: u64) -> Result<u64, Error> {
        let body_len = layout::body_len(plaintext_len)?;
        body_len.checked_add(self.len() as u64).ok_or(Error::MessageTooLong)
    }

    pub(crate) fn core(&self) -> &ImmutableCore {
        &self.core
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("suite", &self.suite())
            .field("data_key_id", &self.data_key_id())
            .field("len", &self.len())
            .field("padding_len", &self.padding_len())
            .field("slots", &self.slots())
            .finish()
    }
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unverified header: {}, data key {}", self.suite(), self.data_key_id())?;
        for slot in self.slots() {
            let SlotLabel { name, version, master_key_id, algorithm } = slot.label;
            write!(f, "; {name} version {version} ({algorithm}, master key {master_key_id})")?;
        }
        Ok(())
    }
}

/// The slots of a header, in order.
#[derive(Clone)]
pub struct Slots<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Slots<'a> {
    /// Returns an iterator over `bytes`, which must hold `count` valid slots.
    pub(crate) fn new(bytes: &'a [u8], count: u8) -> Self {
        Slots { rest: bytes, left: count }
    }
}

impl<'a> Iterator for Slots<'a> {
    type Item = Slot<'a>;

    #[inline]
    fn next(&mut self) -> Option<Slot<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (version, rest) = self.rest.split_first_chunk()?;
        let (master_key_id, rest) = rest.split_first_chunk()?;
        let (&[algorithm, name_len], rest) = rest.split_first_chunk()?;
        let (wrapped_len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let wrapped_len = usize::from(u16::from_be_bytes(*wrapped_len));
        let (wrapped_key, rest) = rest.split_at_checked(wrapped_len)?;
        self.rest = rest;
        let label = SlotLabel {
            // The bytes were parsed or encoded before.
            name: KeyName::checked_bytes(name),
            version: KeyVersion::new(u32::from_be_bytes(*version))?,
            master_key_id: MasterKeyId(*master_key_id),
            algorithm: WrapAlgorithm::new(algorithm)?,
        };
        Some(Slot { label, wrapped_key })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Slots<'_> {}

impl fmt::Debug for Slots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|slot| slot.label)).finish()
    }
}

/// Reads fields in order.
struct Reader<'a> {
    input: &'a [u8],
    position: usize,
    header_len: Option<usize>,
}

impl<'a> Reader<'a> {
    fn read_core(&mut self) -> Result<ImmutableCore, Error> {
        let magic = self.input.get(..MAGIC.len()).unwrap_or(self.input);
        if !MAGIC.starts_with(magic) || magic.is_empty() {
            // SPEC H-MAGIC
            return Err(Error::NotEnvelock { looks_like: LooksLike::guess(self.input) });
        }
        self.take::<4>()?;
        let [format] = *self.take()?;
        // SPEC H-FORMAT
        if format != FORMAT_VERSION {
            return Err(fault(offset::FORMAT, HeaderFault::UnknownFormat(format)));
        }
        let [suite_id] = *self.take()?;
        // SPEC H-SUITE
        let suite = Suite::from_id(suite_id)
            .ok_or_else(|| fault(offset::SUITE, HeaderFault::UnknownSuite(suite_id)))?;
        Ok(ImmutableCore::from_parts(suite, DataKeyId(*self.take()?)))
    }

    fn read_header_len(&mut self) -> Result<usize, Error> {
        let header_len = u16::from_be_bytes(*self.take()?);
        // SPEC H-LEN
        if usize::from(header_len) < MIN_HEADER_LEN {
            let fault_kind = HeaderFault::HeaderLength(header_len);
            return Err(fault(offset::HEADER_LEN, fault_kind));
        }
        self.header_len = Some(usize::from(header_len));
        Ok(usize::from(header_len))
    }

    fn read_slot_count(&mut self, header_len: usize) -> Result<u8, Error> {
        let [slot_count] = *self.take()?;
        let slots_len = usize::from(slot_count) * MIN_SLOT_LEN;
        // SPEC H-COUNT
        let in_range = (1..=MAX_SLOTS).contains(&usize::from(slot_count));
        if in_range && offset::SLOTS + slots_len <= header_len {
            Ok(slot_count)
        } else {
            Err(fault(offset::SLOT_COUNT, HeaderFault::SlotCount(slot_count)))
        }
    }

    /// Reads one slot, which must end at or before `end` and must not repeat one of `earlier`.
    fn read_slot(&mut self, end: usize, suite: Suite, mut earlier: Slots<'_>) -> Result<(), Error> {
        let fixed_end = self.position + SLOT_FIXED_LEN;
        let fits = |name_len: usize, wrapped_len: usize| fixed_end + name_len + wrapped_len <= end;

        // SPEC H-VERSION
        let at = self.position;
        let version = KeyVersion::new(u32::from_be_bytes(*self.take()?))
            .ok_or_else(|| fault(at, HeaderFault::ZeroVersion))?;
        let master_key_id = MasterKeyId(*self.take()?);

        // SPEC H-ALG, H-OPAQUE: zero is invalid, an unknown algorithm is not.
        let at = self.position;
        let [id] = *self.take()?;
        let algorithm =
            WrapAlgorithm::new(id).ok_or_else(|| fault(at, HeaderFault::ZeroAlgorithm))?;
        let exact_len = algorithm.wrapped_key_len(suite);
        let least_len = exact_len.unwrap_or(1);
        if !fits(1, least_len) {
            return Err(fault(at, HeaderFault::AlgorithmRoom(id)));
        }

        // SPEC H-NAME
        let at = self.position;
        let [name_len] = *self.take()?;
        if name_len == 0 || !fits(usize::from(name_len), least_len) {
            return Err(fault(at, HeaderFault::KeyNameLength(name_len)));
        }

        // SPEC H-WRAPLEN
        let at = self.position;
        let wrapped_len = u16::from_be_bytes(*self.take()?);
        let wrapped = usize::from(wrapped_len);
        let in_range = (1..=MAX_WRAPPED_KEY_LEN).contains(&wrapped);
        let exact = exact_len.is_none_or(|exact| exact == wrapped);
        if !in_range || !exact || !fits(usize::from(name_len), wrapped) {
            return Err(fault(at, HeaderFault::WrappedKeyLength(wrapped_len)));
        }

        let at = self.position;
        let name = self.take_name(usize::from(name_len), at)?;
        let label = SlotLabel { name, version, master_key_id, algorithm };
        if earlier.any(|slot| slot.label.same_key(&label)) {
            // SPEC H-DUPLICATE: the name is the last of the three fields.
            return Err(fault(at, HeaderFault::DuplicateSlot));
        }
        self.take_slice(wrapped).map(|_| ())
    }

    /// Reads a name. An invalid byte is reported even if the input ends within the name.
    fn take_name(&mut self, len: usize, at: usize) -> Result<KeyName<'a>, Error> {
        let there = &self.input[at..];
        let there = there.get(..len).unwrap_or(there);
        match KeyName::from_bytes(there) {
            Err(InvalidKeyName { offset }) if !there.is_empty() => {
                Err(fault(at + offset, HeaderFault::KeyNameByte(there[offset])))
            }
            Ok(name) if there.len() == len => {
                self.position += len;
                Ok(name)
            }
            _ => Err(self.truncated(len)),
        }
    }

    fn read_padding(&mut self, header_len: usize) -> Result<(), Error> {
        let at = self.position;
        let there = &self.input[at..];
        let len = header_len - at;
        let there = there.get(..len).unwrap_or(there);
        // SPEC H-PAD
        if let Some(offset) = there.iter().position(|byte| *byte != 0) {
            return Err(fault(at + offset, HeaderFault::Padding));
        }
        self.take_slice(len).map(|_| ())
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let rest = &self.input[self.position..];
        let Some(field) = rest.first_chunk() else { return Err(self.truncated(N)) };
        self.position += N;
        Ok(field)
    }

    fn take_slice(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let rest = &self.input[self.position..];
        let Some(field) = rest.get(..len) else { return Err(self.truncated(len)) };
        self.position += len;
        Ok(field)
    }

    /// Returns the error for an input that ends within a field of `len` bytes.
    fn truncated(&self, len: usize) -> Error {
        let due = (self.position + len).max(MIN_HEADER_LEN);
        Error::Truncated {
            part: MessagePart::Header,
            len: self.input.len() as u64,
            needed: self.header_len.unwrap_or(due) as u64,
        }
    }
}

fn fault(offset: usize, fault: HeaderFault) -> Error {
    Error::Header { offset, fault }
}
