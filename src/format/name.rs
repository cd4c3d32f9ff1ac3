//! Key names: a small alphabet, so that a name can stand in a log, a path or an index unescaped.

use super::MAX_KEY_NAME_LEN;
use core::fmt;

/// Name of a master key (SPEC H-NAME): `[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,254}`.
///
/// Compared byte by byte; case matters. A name is a label only: it is never a path or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName<'a>(&'a str);

impl<'a> KeyName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyName`] if it is empty, longer than 255 bytes, or has a byte out of the
    /// alphabet, with the offset of the first offending byte.
    pub fn new(name: &'a str) -> Result<Self, InvalidKeyName> {
        KeyName::from_bytes(name.as_bytes())
    }

    /// A name that was checked when it was stored.
    pub(crate) fn checked(name: &'a str) -> Self {
        debug_assert!(KeyName::new(name).is_ok());
        KeyName(name)
    }

    pub(crate) fn from_bytes(name: &'a [u8]) -> Result<Self, InvalidKeyName> {
        let alphabet = |(offset, byte): (usize, &u8)| {
            let inner = offset > 0 && b"._:/@+=-".contains(byte);
            !(byte.is_ascii_alphanumeric() || inner)
        };
        let offset = match name.iter().enumerate().position(alphabet) {
            Some(offset) => offset.min(MAX_KEY_NAME_LEN),
            None if name.is_empty() => 0,
            None if name.len() > MAX_KEY_NAME_LEN => MAX_KEY_NAME_LEN,
            None => {
                let name = core::str::from_utf8(name).map_err(|_| InvalidKeyName { offset: 0 })?;
                return Ok(KeyName(name));
            }
        };
        Err(InvalidKeyName { offset })
    }

    /// The name.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Length in bytes, 1 to 255.
    #[expect(clippy::len_without_is_empty, reason = "a name is never empty")]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Length as headers have it.
    #[expect(clippy::expect_used, reason = "a name is checked when it is made")]
    pub(crate) fn len_byte(self) -> u8 {
        u8::try_from(self.0.len()).expect("a name has at most 255 bytes")
    }
}

impl fmt::Display for KeyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A key name is empty, longer than 255 bytes, or has a byte that names may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key name is not [A-Za-z0-9][A-Za-z0-9._:/@+=-]{{0,254}} at byte {offset}")]
pub struct InvalidKeyName {
    /// Offset of the first offending byte in the name.
    pub offset: usize,
}
