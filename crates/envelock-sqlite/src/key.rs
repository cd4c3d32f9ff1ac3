//! Keys of rows as keys of items, which have the same order.

use envelock_ops::{ItemKey, StoreError};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Result, ToSql};

/// How many digits the largest integer has.
const DIGITS: usize = 19;

/// The type of the keys of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// Item keys have 19 digits, so that they are ordered as the numbers are.
    Integer,
    Text,
    Blob,
}

impl KeyKind {
    /// Returns the item of a row.
    pub(crate) fn item(self, value: ValueRef<'_>) -> Result<ItemKey, StoreError> {
        let item = match (self, value) {
            (KeyKind::Integer, ValueRef::Integer(number)) => ItemKey::new(digits(number)),
            (KeyKind::Text, ValueRef::Text(bytes)) | (KeyKind::Blob, ValueRef::Blob(bytes)) => {
                ItemKey::new(bytes)
            }
            (_, other) => {
                let text = format!(
                    "the key of a row has the type {}, and not that of its column: correct the row",
                    other.data_type()
                );
                return Err(StoreError::broken(text));
            }
        };
        let text = "the key of a row is empty, or longer than 4,096 bytes: correct the row";
        item.ok_or_else(|| StoreError::broken(text))
    }

    /// Returns the key of an item, or `None` if no row of the table can have it.
    pub(crate) fn key(self, item: &ItemKey) -> Option<RowKey> {
        let bytes = item.as_bytes();
        Some(RowKey(match self {
            KeyKind::Integer => Value::Integer(number(bytes)?),
            KeyKind::Text => Value::Text(String::from_utf8(bytes.into()).ok()?),
            KeyKind::Blob => Value::Blob(bytes.into()),
        }))
    }
}

/// The key of a row.
#[derive(Debug, PartialEq)]
pub(crate) struct RowKey(Value);

impl ToSql for RowKey {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

/// Returns 19 digits; of a negative number `-` and how far it is above the least one, as `-` comes before digits.
fn digits(number: i64) -> String {
    if number < 0 {
        format!("-{:0DIGITS$}", number.abs_diff(i64::MIN))
    } else {
        format!("{number:0DIGITS$}")
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = match text.strip_prefix('-') {
        Some(above) => i64::MIN.checked_add_unsigned(above.parse().ok()?)?,
        None => text.parse().ok()?,
    };
    // One number has one text.
    (digits(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_order() {
        let numbers = [i64::MIN, i64::MIN + 1, -10, -9, -1, 0, 1, 9, 10, 42, i64::MAX];
        let items = numbers.map(|it| KeyKind::Integer.item(ValueRef::Integer(it)).unwrap());
        assert!(items.is_sorted());
        let back = items.each_ref().map(|item| KeyKind::Integer.key(item).unwrap());
        assert_eq!(back, numbers.map(|number| RowKey(Value::Integer(number))));
        assert_eq!(items.map(|item| item.to_string()).last().unwrap(), "9223372036854775807");
    }

    #[test]
    fn keys_of_no_row() {
        for text in
            ["42", "-1", "0000000000000000042 ", "+000000000000000042", "99999999999999999999"]
        {
            assert_eq!(KeyKind::Integer.key(&ItemKey::new(text).unwrap()), None, "{text}");
        }
        assert_eq!(KeyKind::Text.key(&ItemKey::new([0xff]).unwrap()), None);
        let error = KeyKind::Text.item(ValueRef::Null).unwrap_err().to_string();
        assert!(error.contains("the key of a row has the type Null"), "{error}");
        assert!(KeyKind::Text.item(ValueRef::Text(b"")).is_err());
    }
}
