//! Free-form labels of a version: an operator's notes, bounded.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

/// Longest label name, in bytes.
pub const MAX_LABEL_NAME_LEN: usize = 64;

/// Longest label value, in bytes.
pub const MAX_LABEL_VALUE_LEN: usize = 256;

/// Most labels of one version.
pub const MAX_LABELS: usize = 16;

/// Labels of a version: up to 16 names with a value each.
///
/// A name has the alphabet of key names and at most 64 bytes, a value at most 256 bytes of text
/// without control characters, so that neither can forge a line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every label, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a label, or removes it where `value` is `None`.
    ///
    /// # Errors
    ///
    /// [`LabelFault`]; nothing has changed then.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), LabelFault> {
        let Some(value) = value else {
            self.0.remove(name);
            return Ok(());
        };
        let is_name = crate::format::KeyName::new(name).is_ok();
        if !is_name || name.len() > MAX_LABEL_NAME_LEN {
            return Err(LabelFault::Name);
        }
        if !is_value(value) {
            return Err(LabelFault::Value);
        }
        if self.0.len() >= MAX_LABELS && !self.0.contains_key(name) {
            return Err(LabelFault::TooMany);
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }
}

/// Whether a text is one that a label can have.
pub(super) fn is_value(text: &str) -> bool {
    text.len() <= MAX_LABEL_VALUE_LEN && !text.chars().any(char::is_control)
}

/// Why a label was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelFault {
    /// The name is not of the alphabet of key names, or has more than 64 bytes.
    Name,
    /// The value has a control character, or more than 256 bytes.
    Value,
    /// The version has 16 labels already.
    TooMany,
}

impl fmt::Display for LabelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LabelFault::Name => "the name is not [A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,63}",
            LabelFault::Value => "the value has a control character or more than 256 bytes",
            LabelFault::TooMany => "there are 16 already",
        })
    }
}
