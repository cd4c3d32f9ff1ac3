//! JSON objects as ordered fields, so that unknown fields survive byte for byte.
//!
//! Not by `derive`: `#[serde(flatten)]` cannot hold a `RawValue`, and accepts a field twice.

use super::fault::RecordFault;
use crate::time::Timestamp;
use alloc::borrow::{Cow, ToOwned};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most fields of one object: bounds the search for duplicates.
const MAX_FIELDS: usize = 256;

/// Unknown fields with their JSON text, in order.
// FORMAT F-EXTRA
pub(super) type Extra = Vec<(String, String)>;

/// The fields of an object that are still to be read, in order, with their JSON text.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object with distinct field names.
    pub(super) fn parse(text: &'a str) -> Result<Self, RecordFault> {
        // FORMAT F-JSON
        serde_json::from_str(text).map_err(|_| RecordFault::Json)
    }

    /// Takes the JSON text of a field, if the field is present.
    pub(super) fn take(&mut self, field: &str) -> Option<&'a str> {
        let position = self.0.iter().position(|(name, _)| name == field)?;
        Some(self.0.remove(position).1.get())
    }

    /// Takes a field by `read`, if the field is present.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, RecordFault>,
    ) -> Result<Option<T>, RecordFault> {
        if self.peek(field).is_some() { read(self, field).map(Some) } else { Ok(None) }
    }

    pub(super) fn raw(&mut self, field: &'static str) -> Result<&'a str, RecordFault> {
        self.take(field).ok_or(RecordFault::Missing { field })
    }

    /// A string, number or array.
    pub(super) fn value<T: Deserialize<'a>>(
        &mut self,
        field: &'static str,
    ) -> Result<T, RecordFault> {
        serde_json::from_str(self.raw(field)?).map_err(|_| RecordFault::Value { field })
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<String, RecordFault> {
        self.value(field)
    }

    /// The JSON text of a field that stays unread.
    pub(super) fn peek(&self, field: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.get())
    }

    pub(super) fn hex<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], RecordFault> {
        from_hex(self.plain_string(field)?.as_bytes()).ok_or(RecordFault::Value { field })
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, RecordFault> {
        let text = self.plain_string(field)?.as_bytes();
        let pairs = text.chunks(2).map(|pair| from_hex::<1>(pair).map(|[byte]| byte));
        pairs.collect::<Option<_>>().ok_or(RecordFault::Value { field })
    }

    pub(super) fn time(&mut self, field: &'static str) -> Result<Timestamp, RecordFault> {
        Timestamp::parse(self.plain_string(field)?).ok_or(RecordFault::Value { field })
    }

    /// The text between the quotes, of a string whose valid values have no escapes.
    fn plain_string(&mut self, field: &'static str) -> Result<&'a str, RecordFault> {
        let text = self.raw(field)?.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        text.ok_or(RecordFault::Value { field })
    }

    /// The fields that were not taken.
    pub(super) fn into_extra(self) -> Extra {
        let owned =
            |(name, value): (Cow<'_, str>, &RawValue)| (name.into_owned(), value.get().to_owned());
        self.0.into_iter().map(owned).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of distinct fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Self::Value::with_capacity(16);
        while let Some((name, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
            let name = field_name(name.get()).ok_or_else(|| A::Error::custom("no field name"))?;
            if fields.len() >= MAX_FIELDS || fields.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("a field twice, or too many"));
            }
            fields.push((name, value));
        }
        Ok(fields)
    }
}

/// The name of a field from its JSON text, borrowed if it has no escape.
fn field_name(json: &str) -> Option<Cow<'_, str>> {
    if json.contains('\\') {
        return serde_json::from_str::<String>(json).ok().map(Cow::Owned);
    }
    json.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// The text of an object, field by field.
pub(super) struct Object(Vec<u8>);

impl Object {
    /// An object of `kind`, the first field of every record.
    pub(super) fn of_kind(kind: &str) -> Self {
        Object::new().value("kind", kind)
    }

    /// An empty object.
    pub(super) fn new() -> Self {
        Object(Vec::from(*b"{"))
    }

    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        self.name(name);
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A string, number or array.
    pub(super) fn value<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.name(name);
        self.push(value);
        self
    }

    pub(super) fn time(self, name: &str, value: Timestamp) -> Self {
        self.value(name, &value.to_string())
    }

    pub(super) fn hex(self, name: &str, bytes: &[u8]) -> Self {
        self.value(name, &to_hex(bytes))
    }

    /// A field by `write`, if there is a value.
    pub(super) fn optional<T>(
        self,
        name: &str,
        value: Option<T>,
        write: impl FnOnce(Self, &str, T) -> Self,
    ) -> Self {
        match value {
            Some(value) => write(self, name, value),
            None => self,
        }
    }

    pub(super) fn extra<'a>(self, extra: impl IntoIterator<Item = &'a (String, String)>) -> Self {
        extra.into_iter().fold(self, |object, (name, json)| object.raw(name, json))
    }

    #[expect(clippy::expect_used, reason = "JSON is UTF-8")]
    pub(super) fn end(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("UTF-8")
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.push(name);
        self.0.push(b':');
    }

    #[expect(clippy::expect_used, reason = "strings and numbers are JSON, and memory takes them")]
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.0, value).expect("JSON");
    }
}

/// Lower-case hexadecimal. Not by a formatter: for a large file that is an eighth of the work.
#[expect(clippy::indexing_slicing, reason = "four bits index 16 digits")]
pub(super) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    let mut hex = String::with_capacity(2 * bytes.len());
    bytes.iter().for_each(|byte| hex.extend([digit(byte >> 4), digit(byte & 15)]));
    hex
}

/// Reads exactly `2 * N` lower-case hexadecimal digits.
pub(super) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a')?.checked_add(10),
        _ => None,
    }
}
