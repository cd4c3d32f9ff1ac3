//! Labels of a version: bounded notes of an operator.

use alloc::string::String;
use alloc::vec::Vec;

/// Maximum length of a label name in bytes.
pub const MAX_LABEL_NAME_LEN: usize = 64;

/// Maximum length of a label value in bytes.
pub const MAX_LABEL_VALUE_LEN: usize = 256;

/// Maximum number of labels of a version.
pub const MAX_LABELS: usize = 16;

/// Labels of a version: up to 16 names with values.
///
/// A name has the alphabet of key names and at most 64 bytes. A value has at most 256 bytes of text
/// without control characters, so that it cannot forge a line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// Sorted by name. An empty map would leave bytes of a record uninitialised, in which a move could carry
// a piece of a key from the stack to the heap.
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Returns the value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(there, _)| *there == name).map(|(_, value)| value)
    }

    /// Returns every label in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a label, or removes it if `value` is `None`.
    ///
    /// # Errors
    ///
    /// [`LabelFault`] for an invalid name or value or a 17th label. Nothing has changed then.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), LabelFault> {
        let Some(value) = value else {
            self.0.retain(|(there, _)| there != name);
            return Ok(());
        };
        let is_name = crate::format::KeyName::new(name).is_ok();
        if !is_name || name.len() > MAX_LABEL_NAME_LEN {
            return Err(LabelFault::Name);
        }
        if !is_value(value) {
            return Err(LabelFault::Value);
        }
        if let Some((_, there)) = self.0.iter_mut().find(|(there, _)| there == name) {
            *there = value.into();
            return Ok(());
        }
        if self.0.len() >= MAX_LABELS {
            return Err(LabelFault::TooMany);
        }
        let index = self.0.partition_point(|(there, _)| there.as_str() < name);
        self.0.insert(index, (name.into(), value.into()));
        Ok(())
    }
}

/// Returns whether `text` is a valid value.
pub(super) fn is_value(text: &str) -> bool {
    text.len() <= MAX_LABEL_VALUE_LEN && !text.chars().any(char::is_control)
}

/// Why a label was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelFault {
    /// The name has a byte outside the alphabet of key names, or more than 64 bytes.
    #[error("the name is not [A-Za-z0-9][A-Za-z0-9._:/@+=-]{{0,63}}")]
    Name,
    /// The value has a control character, or more than 256 bytes.
    #[error("the value has a control character or more than 256 bytes")]
    Value,
    /// The version has 16 labels already.
    #[error("the version has 16 labels already")]
    TooMany,
}
