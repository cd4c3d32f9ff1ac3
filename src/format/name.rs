//! Key names: a small alphabet, so that logs, paths and indexes need no escaping.

use super::MAX_KEY_NAME_LEN;
use core::fmt;

/// Name of a master key (SPEC H-NAME): `[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,254}`.
///
/// Names are compared byte by byte and are case-sensitive. A name is never used as a path or a
/// command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName<'a>(&'a [u8]);

impl<'a> KeyName<'a> {
    /// Validates `name`.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyName`] if the name is empty, is longer than 255 bytes or has a byte outside the
    /// alphabet.
    pub fn new(name: &'a str) -> Result<Self, InvalidKeyName> {
        KeyName::from_bytes(name.as_bytes())
    }

    /// Wraps a name that was validated before.
    pub(crate) fn checked(name: &'a str) -> Self {
        debug_assert!(KeyName::new(name).is_ok());
        KeyName(name.as_bytes())
    }

    /// Wraps the bytes of a name that was validated before.
    pub(crate) fn checked_bytes(name: &'a [u8]) -> Self {
        debug_assert!(KeyName::from_bytes(name).is_ok());
        KeyName(name)
    }

    pub(crate) fn from_bytes(name: &'a [u8]) -> Result<Self, InvalidKeyName> {
        let is_outside = |(offset, byte): (usize, &u8)| {
            !(byte.is_ascii_alphanumeric() || offset > 0 && b"._:/@+=-".contains(byte))
        };
        let offset = match name.iter().enumerate().position(is_outside) {
            Some(offset) => offset.min(MAX_KEY_NAME_LEN),
            None if name.is_empty() => 0,
            None if name.len() > MAX_KEY_NAME_LEN => MAX_KEY_NAME_LEN,
            None => return Ok(KeyName(name)),
        };
        Err(InvalidKeyName { offset })
    }

    /// Returns the name.
    #[expect(clippy::expect_used, reason = "every constructor validates the alphabet")]
    pub fn as_str(self) -> &'a str {
        core::str::from_utf8(self.0).expect("the alphabet is ASCII")
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the length in bytes, 1 to 255.
    #[expect(clippy::len_without_is_empty, reason = "a name is never empty")]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Returns the length as a header encodes it.
    #[expect(clippy::expect_used, reason = "every constructor validates the length")]
    pub(crate) fn len_byte(self) -> u8 {
        u8::try_from(self.0.len()).expect("a name has at most 255 bytes")
    }
}

impl fmt::Debug for KeyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyName").field(&self.as_str()).finish()
    }
}

impl fmt::Display for KeyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key name that is empty, is longer than 255 bytes or has a byte outside the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("key name is not [A-Za-z0-9][A-Za-z0-9._:/@+=-]{{0,254}} at byte {offset}")]
pub struct InvalidKeyName {
    /// Offset of the first invalid byte in the name.
    pub offset: usize,
}
