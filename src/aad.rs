//! Associated data: bytes of the caller that are authenticated and not stored.

use crate::error::Error;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// First bytes of the canonical form of named pairs (SPEC A-LABEL).
const PAIRS_LABEL: &[u8] = b"envelock aad v1\0";

/// Associated data of a message: bytes that a decryption must repeat. They are not stored.
///
/// Name the record of the message (table, row, tenant, path), so that a message moved to another
/// record does not open there. Use [`AadPairs`] for several fields; joined strings are ambiguous.
///
/// ```
/// use envelock::Aad;
/// let one_field = Aad::new(b"invoices/2026/0042");
/// let explicitly_none = Aad::none();
/// # let _ = (one_field, explicitly_none);
/// ```
#[doc(alias = "encryption context")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a>(&'a [u8]);

impl<'a> Aad<'a> {
    /// Returns `bytes` as associated data. They are authenticated and not stored: decryption needs the
    /// same bytes again.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Aad(bytes)
    }

    /// Returns empty associated data: the message opens as any record.
    pub const fn none() -> Self {
        Aad(&[])
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Writes the length alone: associated data may be personal.
impl fmt::Debug for Aad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aad({} bytes)", self.0.len())
    }
}

/// Named pairs of associated data in one canonical form (SPEC A-CANON).
///
/// The form is sorted by name and has the length before every part, so two sets of pairs have the
/// same bytes if and only if they are equal. Names are compared byte by byte; text is not normalised.
///
/// ```
/// use envelock::AadPairs;
/// # fn main() -> Result<(), envelock::Error> {
/// let pairs = AadPairs::new().with("tenant", "acme")?.with("row", 42_u64.to_be_bytes())?;
/// let bytes = pairs.to_bytes();
/// let aad = envelock::Aad::new(&bytes);
/// assert_eq!(AadPairs::from_bytes(aad.as_bytes())?, pairs);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AadPairs(BTreeMap<String, Vec<u8>>);

impl AadPairs {
    /// Returns an empty set.
    pub const fn new() -> Self {
        AadPairs(BTreeMap::new())
    }

    /// Adds a pair.
    ///
    /// # Errors
    ///
    /// [`Error::AadPair`] if the name is empty or present, or if the name or the value has 4 GiB or
    /// more.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.insert(name, value.as_ref())?;
        Ok(self)
    }

    /// Adds a pair in place. An error changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::AadPair`] if the name is empty or present, or if the name or the value has 4 GiB or
    /// more.
    pub fn insert(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let fits = |len: usize| u32::try_from(len).is_ok();
        let fault = if name.is_empty() {
            AadFault::EmptyName
        } else if self.0.contains_key(name) {
            // SPEC A-UNIQUE
            AadFault::Duplicate
        } else if fits(name.len()) && fits(value.len()) && fits(self.0.len() + 1) {
            self.0.insert(name.into(), value.into());
            return Ok(());
        } else {
            AadFault::TooLong
        };
        Err(Error::AadPair { name: name.into(), fault })
    }

    /// Returns the pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Returns the canonical form: label, count, then each name and value after its length (big-endian
    /// u32), sorted by name.
    pub fn to_bytes(&self) -> Vec<u8> {
        let part = |len: usize| len + 4;
        let parts_len = self.iter().map(|(name, value)| part(name.len()) + part(value.len()));
        let len = parts_len.fold(part(PAIRS_LABEL.len()), |all, len| all + len);
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(PAIRS_LABEL);
        let put_len = |bytes: &mut Vec<u8>, len: usize| {
            #[expect(clippy::expect_used, reason = "`insert` and `from_bytes` check every length")]
            let len = u32::try_from(len).expect("a length of 32 bits");
            bytes.extend_from_slice(&len.to_be_bytes());
        };
        put_len(&mut bytes, self.0.len());
        for (name, value) in self.iter() {
            put_len(&mut bytes, name.len());
            bytes.extend_from_slice(name.as_bytes());
            put_len(&mut bytes, value.len());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    /// Parses the canonical form.
    ///
    /// # Errors
    ///
    /// [`Error::AadEncoding`] with the offset of the first invalid field.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes.strip_prefix(PAIRS_LABEL).ok_or(Error::AadEncoding { offset: 0 })?;
        let mut pairs = AadPairs::new();
        let mut last: &[u8] = &[];
        for _ in 0..take_len(bytes, &mut rest)? {
            let at = bytes.len() - rest.len();
            let misplaced = Error::AadEncoding { offset: at };
            let name = take_part(bytes, &mut rest)?;
            // SPEC A-SORT: an empty name sorts first, so this rejects it as well.
            if name <= last {
                return Err(misplaced);
            }
            // SPEC A-UTF, A-FIRST
            let text = core::str::from_utf8(name).map_err(|_| misplaced)?;
            let value = take_part(bytes, &mut rest)?;
            pairs.0.insert(text.into(), value.into());
            last = name;
        }
        // SPEC A-LEN
        match rest {
            [] => Ok(pairs),
            _ => Err(offset_of(bytes, rest)),
        }
    }
}

/// Writes the names alone: values may be personal.
impl fmt::Debug for AadPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn offset_of(bytes: &[u8], rest: &[u8]) -> Error {
    Error::AadEncoding { offset: bytes.len() - rest.len() }
}

fn take_len(bytes: &[u8], rest: &mut &[u8]) -> Result<u32, Error> {
    let (len, after) = rest.split_first_chunk().ok_or(offset_of(bytes, rest))?;
    *rest = after;
    Ok(u32::from_be_bytes(*len))
}

fn take_part<'a>(bytes: &[u8], rest: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let at = offset_of(bytes, rest);
    let len = usize::try_from(take_len(bytes, rest)?).map_err(|_| at.clone())?;
    let (part, after) = rest.split_at_checked(len).ok_or(at)?;
    *rest = after;
    Ok(part)
}

/// Why a pair of named associated data was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AadFault {
    /// The name is empty.
    EmptyName,
    /// The set has a pair of this name.
    Duplicate,
    /// The name or the value has 4 GiB or more, or there are 2^32 pairs.
    TooLong,
}

impl fmt::Display for AadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AadFault::EmptyName => "the name is empty",
            AadFault::Duplicate => "the name is present already",
            AadFault::TooLong => "the name or the value is too long",
        })
    }
}
