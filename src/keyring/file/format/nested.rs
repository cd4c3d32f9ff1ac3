//! Fields whose values are objects: labels, holds, and the audit log of the header.

use super::json::{Extra, Fields, Object};
use super::record_fault::RecordFault;
use crate::keyset::{Hold, Labels};
use alloc::string::String;

/// Takes a hold, or another field with a date and a reason.
// FORMAT F-HOLD
pub(super) fn read_hold(fields: &mut Fields<'_>, field: &'static str) -> Result<Hold, RecordFault> {
    let text = fields.raw(field)?;
    let hold = || {
        let mut hold = Fields::parse(text).ok()?;
        let since = hold.time("since").ok()?;
        Hold::new(since, &hold.string("reason").ok()?).ok()
    };
    hold().ok_or(RecordFault::Value { field })
}

pub(super) fn write_hold(object: Object, field: &str, hold: Option<&Hold>) -> Object {
    let Some(hold) = hold else { return object };
    let text = Object::new().time("since", hold.since()).string("reason", hold.reason()).end();
    object.raw(field, &text)
}

/// Checks the form of `audit`, which is kept as an unknown field.
// FORMAT F-RESERVED
pub(super) fn check_audit(fields: &Fields<'_>) -> Result<(), RecordFault> {
    let Some(text) = fields.peek("audit") else { return Ok(()) };
    let anchor = || {
        let mut anchor = Fields::parse(text).ok()?;
        let size = anchor.value::<u64>("size").ok()?;
        anchor.hex::<32>("root").ok()?;
        Some(size)
    };
    anchor().map(drop).ok_or(RecordFault::Value { field: "audit" })
}

/// The labels, and those that break a bound, which are kept and not shown (FORMAT F-LABELS).
pub(super) fn read_labels(fields: &mut Fields<'_>) -> Result<(Labels, Extra), RecordFault> {
    let (mut labels, mut refused) = (Labels::default(), Extra::new());
    let Some(text) = fields.take("labels") else { return Ok((labels, refused)) };
    for (name, json) in Fields::parse(text)?.into_extra() {
        let value: Option<String> = serde_json::from_str(&json).ok();
        if value.is_none_or(|value| labels.set(&name, Some(&value)).is_err()) {
            refused.push((name, json));
        }
    }
    Ok((labels, refused))
}

/// The labels, and those that break a bound unless a label of that name was set since.
pub(super) fn write_labels(labels: &Labels, refused: &Extra) -> String {
    let object = labels.iter().fold(Object::new(), |all, (name, value)| all.string(name, value));
    let refused = refused.iter().filter(|(name, _)| labels.get(name).is_none());
    refused.fold(object, |all, (name, json)| all.raw(name, json)).end()
}
