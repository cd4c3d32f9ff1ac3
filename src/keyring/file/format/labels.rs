//! Labels of a version record: bounded, and what breaks a bound is kept.

use super::fault::RecordFault;
use super::json::{Extra, Fields, Object};
use crate::keyset::Labels;
use alloc::string::String;

/// The labels, and those that break a bound: they are kept and not shown (FORMAT F-LABELS).
pub(super) fn read(fields: &mut Fields<'_>) -> Result<(Labels, Extra), RecordFault> {
    let (mut labels, mut refused) = (Labels::default(), Extra::new());
    let Some(text) = fields.optional("labels") else { return Ok((labels, refused)) };
    for (name, json) in Fields::parse(text)?.into_extra() {
        let value: Option<String> = serde_json::from_str(&json).ok();
        if value.is_none_or(|value| labels.set(&name, Some(&value)).is_err()) {
            refused.push((name, json));
        }
    }
    Ok((labels, refused))
}

/// The labels, and those that were not understood, unless one of that name was set since.
pub(super) fn write(labels: &Labels, refused: &Extra) -> String {
    let object = labels.iter().fold(Object::new(), |all, (name, value)| all.string(name, value));
    let refused = refused.iter().filter(|(name, _)| labels.get(name).is_none());
    refused.fold(object, |all, (name, json)| all.raw(name, json)).end()
}
