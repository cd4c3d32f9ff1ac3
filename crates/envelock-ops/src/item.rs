//! Items of a store: their keys, and pages of a listing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Maximum length of an [`ItemKey`] in bytes.
pub const MAX_ITEM_KEY_LEN: usize = 4096;

/// The name of an item in its store, such as a path or a primary key: 1 to 4,096 bytes.
///
/// Keys are ordered bytewise. Text form: printable ASCII as it is, and `%` with two hexadecimal digits for `%`
/// and every other byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey(Arc<[u8]>);

impl ItemKey {
    /// Returns the key with these bytes, or `None` if their number is not from 1 to 4,096.
    pub fn new(bytes: impl AsRef<[u8]>) -> Option<Self> {
        let bytes = bytes.as_ref();
        (1..=MAX_ITEM_KEY_LEN).contains(&bytes.len()).then(|| ItemKey(bytes.into()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text form of a part of a key.
    pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
        let is_plain = bytes.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'%');
        match std::str::from_utf8(bytes) {
            Ok(text) if is_plain => Cow::Borrowed(text),
            _ => Cow::Owned(ItemKey(bytes.into()).to_string()),
        }
    }

    /// Returns the key with this text form, or `None` if it is not the text form of a key.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        }
        // One key has one text form.
        ItemKey::new(bytes).filter(|key| key.to_string() == text)
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b' '..=b'~' if byte != b'%' => f.write_char(char::from(byte)),
            _ => write!(f, "%{byte:02x}"),
        })
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for ItemKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ItemKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ItemKey::parse(&text).ok_or_else(|| serde::de::Error::custom("not the text form of a key"))
    }
}

/// An item of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct Listed {
    /// The key.
    pub key: ItemKey,
    /// The length of the whole message in bytes, if the listing has it.
    pub bytes: Option<u64>,
    /// Whether it is a symbolic link, which is counted as [`Exclusion::Link`](crate::Exclusion::Link) and never read.
    pub is_link: bool,
    /// Whether it must exist, since a caller named it: if it does not when it is first read, it is
    /// [`Outcome::Absent`](crate::Outcome::Absent).
    pub is_required: bool,
}

impl Listed {
    /// Returns an item that is no link, and that may be deleted meanwhile.
    pub const fn new(key: ItemKey, bytes: Option<u64>) -> Self {
        Listed { key, bytes, is_link: false, is_required: false }
    }
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct Page {
    /// The items, by ascending key.
    pub items: Vec<Listed>,
    /// Whether no item comes after these.
    pub is_last: bool,
}
